// SPDX-License-Identifier: MIT
// Internal: the one kind of JSON that deployed files hold.
#pragma once

#include "metadata.h"

#include <string>

namespace legato {

// A JSON object whose values are all strings. torch ships no JSON library for its users.
// Throws std::runtime_error for anything else.
StringMap parse_json_strings(const std::string &text);

}    // namespace legato
