// SPDX-License-Identifier: MIT
// Internal: text of deployed files, read alike whatever locale the host program has set.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace legato {

// The parts of a text between white space.
std::vector<std::string> words(const std::string &text);

// A word as a number, inf and nan included; nothing if it is not a number.
std::optional<double> parse_number(const std::string &word);

}    // namespace legato
