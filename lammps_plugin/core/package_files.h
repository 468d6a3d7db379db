// SPDX-License-Identifier: MIT
// Internal: the compiled models of one package, unpacked once for several processes of a machine.
#pragma once

#include "unpacked.h"

#include <map>
#include <memory>
#include <string>

namespace legato {

class PackageFiles {
 public:
  // Unpacks all models of a .nequip.pt2. Throws a standard exception if it cannot.
  static std::shared_ptr<PackageFiles> unpack(const std::string &path);
  // Those of another process, by its where(). Null if they are out of reach.
  static std::shared_ptr<PackageFiles> of_another_process(const std::string &where);

  // Good until the first model is taken. Empty where they cannot be shared.
  std::string where() const;
  // The files of one model. Null if they are not among these, or taken.
  std::unique_ptr<Unpacked> take(const std::string &model);

 private:
  std::map<std::string, std::unique_ptr<Unpacked>> models_;
};

}    // namespace legato
