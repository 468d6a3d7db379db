// SPDX-License-Identifier: MIT
#pragma once

#include <string>

namespace legato {

// Version of the torch package whose libraries this process has loaded, from the version.py beside
// them; empty if there is none (a torch that is not a Python package).
std::string installed_torch_version();

}    // namespace legato
