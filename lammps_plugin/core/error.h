// SPDX-License-Identifier: MIT
// The one exception type of the core: a single line that names the cause and the remedy.
#pragma once

#include <stdexcept>
#include <string>

namespace legato {

class Error : public std::runtime_error {
 public:
  explicit Error(const std::string &message) : std::runtime_error(message) {}
};

}    // namespace legato
