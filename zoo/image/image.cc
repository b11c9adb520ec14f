// SPDX-License-Identifier: Apache-2.0
#include "zoo/image/image.h"

#include <utility>

#include "zoo/image/check.h"
#include "zoo/image/codecs.h"

namespace vitrail::image {
namespace {
// A picture is at most this large packed, too: 16-bit RGBA of kMaxPixels fits.
constexpr size_t kMaxFile = size_t{2} << 30;
}  // namespace

int exif_orientation(const std::string& tiff) {
  const bool little = tiff.starts_with("II");
  if (!little && !tiff.starts_with("MM")) return 1;
  const auto number = [&](size_t at, size_t size) -> int64_t {
    if (at > tiff.size() || size > tiff.size() - at) return -1;
    int64_t value = 0;
    for (size_t i = 0; i < size; ++i) {
      const size_t byte = little ? size - 1 - i : i;
      value = value << 8 | static_cast<unsigned char>(tiff[at + byte]);
    }
    return value;
  };
  constexpr int64_t kOrientation = 0x0112, kShort = 3;
  constexpr size_t kEntry = 12;
  const int64_t offset = number(4, 4);
  if (number(2, 2) != 42 || offset < 0) return 1;
  const auto directory = static_cast<size_t>(offset);
  const int64_t entries = number(directory, 2);
  for (int64_t i = 0; i < entries; ++i) {
    const size_t at = directory + 2 + kEntry * static_cast<size_t>(i);
    if (number(at, 2) != kOrientation || number(at + 2, 2) != kShort) continue;
    const int64_t value = number(at + 8, 2);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Image apply_orientation(Image picture, int orientation) {
  if (orientation == 1) return picture;
  // 5 to 8 exchange rows and columns; the flips are those of the stored picture.
  const bool transposed = orientation >= 5;
  const bool flip_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image out = picture;
  if (transposed) std::swap(out.height, out.width);
  const auto c = static_cast<size_t>(picture.channels);
  for (int y = 0; y < out.height; ++y)
    for (int x = 0; x < out.width; ++x) {
      int from_x = transposed ? y : x, from_y = transposed ? x : y;
      if (flip_x) from_x = picture.width - 1 - from_x;
      if (flip_y) from_y = picture.height - 1 - from_y;
      const size_t from = (static_cast<size_t>(from_y) * static_cast<size_t>(picture.width) +
                           static_cast<size_t>(from_x)) *
                          c;
      const size_t to =
          (static_cast<size_t>(y) * static_cast<size_t>(out.width) + static_cast<size_t>(x)) * c;
      for (size_t k = 0; k < c; ++k) out.pixels[to + k] = picture.pixels[from + k];
    }
  return out;
}

Image decode(Bytes file, const std::string& name) {
  const std::string_view text = as_text(file);
  const bool jpeg = text.starts_with("\xff\xd8\xff"), png = text.starts_with("\x89PNG\r\n\x1a\n");
  check(jpeg || png, Code::bad_input, "{}: expected a JPEG or PNG picture", name);
  Decoded out = jpeg ? decode_jpeg(file, name) : decode_png(file, name);
  return apply_orientation(std::move(out.picture), exif_orientation(out.exif));
}

Image load(const std::string& path) {
  const std::string file = read_file(path, kMaxFile);
  return decode(as_bytes(file), "'" + path + "'");
}

void save_png(const std::string& path, const Image& picture) {
  write_atomically(path, encode_png(picture));
}

}  // namespace vitrail::image
