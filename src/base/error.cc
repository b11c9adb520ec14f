// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

namespace vitrail {

const char* code_name(Code code) {
  switch (code) {
    case Code::internal:
      return "internal error";
    case Code::usage:
      return "usage";
    case Code::bad_input:
      return "bad input";
    case Code::unsupported:
      return "unsupported";
    case Code::resource:
      return "out of resources";
    case Code::io:
      return "input/output";
    case Code::wrong_target:
      return "wrong target";
    case Code::accuracy:
      return "accuracy";
  }
  return "unknown";
}

namespace {
// Length of the valid UTF-8 sequence at text[i], or 0.
size_t utf8_length(const std::string& text, size_t i) {
  const auto byte = [&](size_t k) { return static_cast<unsigned char>(text[k]); };
  const unsigned char lead = byte(i);
  size_t length = lead < 0x80                   ? 1
                  : lead >= 0xC2 && lead < 0xE0 ? 2
                  : lead >= 0xE0 && lead < 0xF0 ? 3
                  : lead >= 0xF0 && lead < 0xF5 ? 4
                                                : 0;
  if (length == 0 || i + length > text.size()) return 0;
  for (size_t k = 1; k < length; ++k)
    if ((byte(i + k) & 0xC0) != 0x80) return 0;
  return length;
}
}  // namespace

std::string printable(const std::string& text, size_t limit) {
  std::string out;
  size_t i = 0;
  while (i < text.size()) {
    if (out.size() >= limit) return out + "...";
    const unsigned char c = static_cast<unsigned char>(text[i]);
    const size_t length = utf8_length(text, i);
    // C1 control characters arrive as C2 80..9F.
    const bool c1 = length == 2 && c == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (length == 0 || c < 0x20 || c == 0x7F || c1) {
      out += fmt::format("\\x{:02x}", c);
      ++i;
    } else {
      out.append(text, i, length);
      i += length;
    }
  }
  return out;
}

}  // namespace vitrail
