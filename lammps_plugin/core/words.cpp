// SPDX-License-Identifier: MIT
#include "words.h"

#include <charconv>

namespace legato {

std::vector<std::string> words(const std::string &text)
{
  constexpr const char *kSpace = " \t\r\n\f\v";
  std::vector<std::string> result;
  for (std::size_t begin = text.find_first_not_of(kSpace); begin != std::string::npos;) {
    const std::size_t end = text.find_first_of(kSpace, begin);
    result.push_back(text.substr(begin, end - begin));
    begin = text.find_first_not_of(kSpace, end);
  }
  return result;
}

std::optional<double> parse_number(const std::string &word)
{
  double value = 0.0;
  const char *end = word.data() + word.size();
  const auto [stop, problem] = std::from_chars(word.data(), end, value);
  if (problem != std::errc() || stop != end) return std::nullopt;
  return value;
}

}    // namespace legato
