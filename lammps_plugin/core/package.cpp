// SPDX-License-Identifier: MIT
#include "package.h"

#include "json_strings.h"

#include <caffe2/serialize/inline_container.h>

#include <algorithm>
#include <stdexcept>

namespace legato {

Package::Package(const std::string &path) :
    archive_(std::make_unique<caffe2::serialize::PyTorchStreamReader>(path))
{
  const std::string folder = "aotinductor/";
  for (const std::string &record : archive_->getAllRecords()) {
    const auto found = record.find(folder);
    if (found == std::string::npos) continue;
    const auto model = found + folder.size();
    const auto file = record.find('/', model);
    if (file == std::string::npos || record.find('/', file + 1) != std::string::npos) continue;
    members_.push_back({record, record.substr(model, file - model), record.substr(file + 1)});
  }
}

Package::~Package() = default;

std::vector<std::string> Package::files(const std::string &model) const
{
  std::vector<std::string> names;
  for (const auto &member : members_)
    if (member.model == model) names.push_back(member.file);
  return names;
}

std::string Package::content(const std::string &model, const std::string &file)
{
  for (const auto &member : members_) {
    if (member.model != model || member.file != file) continue;
    const auto [data, size] = archive_->getRecord(member.record);
    return std::string(static_cast<const char *>(data.get()), size);
  }
  throw std::runtime_error("the archive has no " + file);
}

StringMap Package::metadata(const std::string &model)
{
  const std::string end = "_metadata.json";
  std::string chosen;
  for (const std::string &file : files(model)) {
    if (file.size() < end.size() || file.compare(file.size() - end.size(), end.size(), end) != 0)
      continue;
    // newer torch compiles kernels and wrapper separately, each with the same metadata
    if (chosen.empty() || file.find("wrapper") != std::string::npos) chosen = file;
  }
  return chosen.empty() ? StringMap() : parse_json_strings(content(model, chosen));
}

}    // namespace legato
