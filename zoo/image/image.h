// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "vitrail/file.h"

namespace vitrail::image {

/// Eight bits a sample, rows from the top, channels side by side: 3 (RGB) or 1 (gray).
struct Image {
  int height = 0, width = 0, channels = 3;
  std::vector<uint8_t> pixels;
  bool operator==(const Image&) const = default;
};

/// Pictures with more pixels are refused before memory is taken; Pillow's own limit.
constexpr int64_t kMaxPixels = 178'956'970;

/// Decodes a JPEG or PNG picture to RGB as Pillow's convert('RGB') does: gray repeats, palettes
/// expand, alpha is dropped, CMYK is converted without a colour profile. 16-bit samples keep
/// their high byte (Pillow saturates 16-bit gray instead). An EXIF orientation is applied.
/// Throws Error(bad_input) naming `name` for a damaged, truncated or too large picture and for
/// other kinds of files.
Image decode(Bytes file, const std::string& name);
/// The same of a file.
Image load(const std::string& path);

/// A PNG of 8-bit RGB or gray.
std::string encode_png(const Image& picture);
/// Written completely or not at all.
void save_png(const std::string& path, const Image& picture);

}  // namespace vitrail::image
