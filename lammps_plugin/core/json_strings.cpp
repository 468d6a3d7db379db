// SPDX-License-Identifier: MIT
#include "json_strings.h"

#include <charconv>
#include <cstdint>
#include <stdexcept>
#include <string_view>

namespace legato {

namespace {

void append_utf8(std::string &text, const std::uint32_t code)
{
  const auto put = [&text](const std::uint32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

class Reader {
 public:
  explicit Reader(const std::string &text) : text_(text) {}

  StringMap object()
  {
    StringMap entries;
    expect('{');
    if (!next_is('}')) do {
        const std::string key = string();
        expect(':');
        entries[key] = string();
      } while (next_is(','));
    if (!entries.empty()) expect('}');
    skip_space();
    if (at_ != text_.size()) fail();
    return entries;
  }

 private:
  [[noreturn]] static void fail()
  {
    throw std::runtime_error("its metadata are not a JSON object of strings");
  }

  void skip_space() { at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size()); }

  char take()
  {
    if (at_ >= text_.size()) fail();
    return text_[at_++];
  }

  bool next_is(const char wanted)
  {
    skip_space();
    const bool found = at_ < text_.size() && text_[at_] == wanted;
    at_ += found;
    return found;
  }

  void expect(const char wanted)
  {
    if (!next_is(wanted)) fail();
  }

  std::uint32_t four_digits()
  {
    std::uint32_t code = 0;
    const std::string_view digits = text_.substr(at_, 4);
    const auto [end, problem] =
        std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (problem != std::errc() || digits.size() != 4 || end != digits.data() + 4) fail();
    at_ += 4;
    return code;
  }

  void escape(std::string &text)
  {
    const std::string_view names = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    const char kind = take();
    if (kind == 'u') {
      std::uint32_t code = four_digits();
      if (code >= 0xD800 && code < 0xDC00) {    // the first half of a character of two halves
        if (take() != '\\' || take() != 'u') fail();
        const std::uint32_t low = four_digits();
        if (low < 0xDC00 || low > 0xDFFF) fail();
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      }
      append_utf8(text, code);
      return;
    }
    const auto found = names.find(kind);
    if (found == std::string_view::npos) fail();
    text += meanings[found];
  }

  std::string string()
  {
    std::string text;
    expect('"');
    for (char letter = take(); letter != '"'; letter = take()) {
      if (letter == '\\')
        escape(text);
      else
        text += letter;
    }
    return text;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}    // namespace

StringMap parse_json_strings(const std::string &text)
{
  return Reader(text).object();
}

}    // namespace legato
