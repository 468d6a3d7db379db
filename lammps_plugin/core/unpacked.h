// SPDX-License-Identifier: MIT
// Internal: a compiled model's files where the dynamic loader finds them, and nowhere afterwards.
#pragma once

#include "package.h"

#include <string>

namespace legato {

// Files of one model of a package. Must outlive the model that was loaded from them.
class Unpacked {
 public:
  virtual ~Unpacked() = default;

  // The shared library, for dlopen.
  virtual std::string library() const = 0;
  // Where the kernels for a GPU lie; empty if there are none.
  virtual std::string folder() const { return ""; }
  // To be called once the library has been loaded.
  virtual void loaded() {}
  // For unpacked_elsewhere in another process of this machine, as long as this object is there.
  // Empty where it cannot be shared: on a file system without locks.
  virtual std::string where() const = 0;
};

// In memory that has no name in any file system: nothing is left of it however the process ends,
// and TMPDIR may be full, read-only or mounted noexec. Null if the model needs more than its
// library, or where the system does not allow it.
std::unique_ptr<Unpacked> unpack_in_memory(Package &package, const std::string &model);

// In a folder of the temporary folder (TMPDIR). `keep`: the files are read later on as well, such
// as kernels for a GPU, so the folder stays until the end of the model or of the process; otherwise
// it goes as soon as the library is loaded. A process that is killed leaves its folder to the next
// one that unpacks a model there, which removes it.
// Throws Error if it cannot be written.
std::unique_ptr<Unpacked> unpack_in_folder(Package &package, const std::string &model, bool keep);

// What another process has unpacked and still has. A folder goes with the last process that uses
// it. Null if it is out of reach, as in another container, or another user's.
std::unique_ptr<Unpacked> unpacked_elsewhere(const std::string &where);

}    // namespace legato
