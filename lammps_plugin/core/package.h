// SPDX-License-Identifier: MIT
// Internal: what lies in an AOTInductor file (.nequip.pt2), a zip archive of torch's.
#pragma once

#include "metadata.h"

#include <memory>
#include <string>
#include <vector>

namespace caffe2::serialize {
class PyTorchStreamReader;
}

namespace legato {

// Nothing is written to disk to read it, unlike with torch's own loader, which unpacks the file
// into TMPDIR even for its metadata.
class Package {
 public:
  // Throws a standard exception if the file is not such an archive, or damaged.
  explicit Package(const std::string &path);
  ~Package();

  // Names of the files of one compiled model, without folders. A package may hold several models.
  std::vector<std::string> files(const std::string &model) const;
  // Content of one of them.
  std::string content(const std::string &model, const std::string &file);
  // What was stored with a model when it was compiled; empty if nothing was.
  StringMap metadata(const std::string &model);

 private:
  struct Member {
    std::string record, model, file;
  };
  std::unique_ptr<caffe2::serialize::PyTorchStreamReader> archive_;
  std::vector<Member> members_;
};

}    // namespace legato
