// SPDX-License-Identifier: MIT
#pragma once

#include <string>

namespace legato {

// Version of the torch package in a folder, from its version.py; empty if there is none (a libtorch
// that is not a Python package).
std::string torch_version(const std::string &folder);

// Folder of the torch whose libraries this process has loaded; empty if it has none.
std::string loaded_torch();

}    // namespace legato
