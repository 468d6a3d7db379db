// SPDX-License-Identifier: MIT
#include "package_files.h"

#include "model_formats.h"
#include "package.h"

#include <sstream>

namespace legato {

std::shared_ptr<PackageFiles> PackageFiles::unpack(const std::string &path)
{
  Package package(path);
  const Metadata metadata = parse_metadata(package.metadata(kWholeModel), path);
  auto files = std::make_shared<PackageFiles>();
  for (const char *model : {kWholeModel, kEnergyModel}) {
    if (model == kEnergyModel && !metadata.has_energy_model) continue;
    auto unpacked = unpack_in_memory(package, model);
    if (!unpacked) unpacked = unpack_in_folder(package, model, metadata.device != "cpu");
    files->models_[model] = std::move(unpacked);
  }
  return files;
}

// For each model its name and where it is, each ended by a zero byte, which no path contains.
std::string PackageFiles::where() const
{
  std::string text;
  for (const auto &[model, files] : models_) {
    const std::string where = files->where();
    if (where.empty()) return "";
    text += model + ' ' + where + '\0';
  }
  return text;
}

std::shared_ptr<PackageFiles> PackageFiles::of_another_process(const std::string &where)
{
  auto files = std::make_shared<PackageFiles>();
  std::istringstream entries(where);
  for (std::string entry; std::getline(entries, entry, '\0');) {
    const auto space = entry.find(' ');
    auto unpacked = unpacked_elsewhere(entry.substr(space + 1));
    if (!unpacked) return nullptr;
    files->models_[entry.substr(0, space)] = std::move(unpacked);
  }
  return files;
}

std::unique_ptr<Unpacked> PackageFiles::take(const std::string &model)
{
  const auto found = models_.find(model);
  return found == models_.end() ? nullptr : std::move(found->second);
}

}    // namespace legato
