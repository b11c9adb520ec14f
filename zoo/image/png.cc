// SPDX-License-Identifier: Apache-2.0
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <memory>

#include "zoo/image/check.h"
#include "zoo/image/codecs.h"

namespace vitrail::image {
namespace {
struct Session {
  Bytes input;
  std::string* output = nullptr;
  char message[200] = {};
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto* session = static_cast<Session*>(png_get_error_ptr(png));
  std::strncpy(session->message, message, sizeof session->message - 1);
  png_longjmp(png, 1);
}
void on_warning(png_structp, png_const_charp) {}

void on_read(png_structp png, png_bytep to, size_t size) {
  auto* session = static_cast<Session*>(png_get_io_ptr(png));
  if (size > session->input.size()) png_error(png, "the file is cut short");
  std::memcpy(to, session->input.data(), size);
  session->input = session->input.subspan(size);
}
void on_write(png_structp png, png_bytep from, size_t size) {
  static_cast<Session*>(png_get_io_ptr(png))
      ->output->append(reinterpret_cast<const char*>(from), size);
}
void on_flush(png_structp) {}

// Everything between setjmp and longjmp lives here without destructors; the caller owns the memory.
bool read(png_structp png, png_infop info, Session& session, Decoded& out,
          std::vector<uint8_t*>& rows) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  const size_t file_size = session.input.size();
  png_set_read_fn(png, &session, on_read);
  constexpr png_uint_32 kMaxSide = 1'000'000;
  constexpr png_alloc_size_t kMaxChunk = 8 << 20;  // texts and profiles, which nobody reads here
  png_set_user_limits(png, kMaxSide, kMaxSide);
  png_set_chunk_malloc_max(png, kMaxChunk);
  png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_WARN_DISCARD);
  png_read_info(png, info);
  const png_uint_32 width = png_get_image_width(png, info),
                    height = png_get_image_height(png, info);
  if (int64_t{width} * height > kMaxPixels) png_error(png, "too many pixels");
  // DEFLATE reaches 1:1032, so that a small file cannot claim a large picture.
  constexpr size_t kMaxExpansion = 1032;
  if (png_get_rowbytes(png, info) * height / kMaxExpansion > file_size)
    png_error(png, "the file is cut short");
  png_set_strip_16(png);
  png_set_expand(png);  // palettes, and gray below eight bits
  png_set_gray_to_rgb(png);
  png_set_strip_alpha(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  const size_t stride = png_get_rowbytes(png, info);
  if (stride != size_t{width} * 3) png_error(png, "an unexpected pixel format");
  out.picture.height = static_cast<int>(height);
  out.picture.width = static_cast<int>(width);
  out.picture.pixels.reserve(stride * height);
  if (png_get_interlace_type(png, info) == PNG_INTERLACE_NONE) {
    // Row by row, so that a short file claims no more memory than it fills.
    for (png_uint_32 y = 0; y < height; ++y) {
      out.picture.pixels.resize(out.picture.pixels.size() + stride);
      png_read_row(png, out.picture.pixels.data() + out.picture.pixels.size() - stride, nullptr);
    }
  } else {
    out.picture.pixels.resize(stride * height);
    rows.resize(height);
    for (png_uint_32 y = 0; y < height; ++y) rows[y] = out.picture.pixels.data() + stride * y;
    png_read_image(png, rows.data());
  }
  png_read_end(png, info);
  png_uint_32 size = 0;
  png_bytep exif = nullptr;
  if (png_get_eXIf_1(png, info, &size, &exif) != 0)
    out.exif.assign(reinterpret_cast<const char*>(exif), size);
  return true;
}

bool write(png_structp png, png_infop info, Session& session, const Image& picture) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_set_write_fn(png, &session, on_write, on_flush);
  png_set_user_limits(png, 0x7fffffff, 0x7fffffff);
  png_set_IHDR(png, info, static_cast<png_uint_32>(picture.width),
               static_cast<png_uint_32>(picture.height), 8,
               picture.channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  const size_t stride = static_cast<size_t>(picture.width) * static_cast<size_t>(picture.channels);
  for (size_t y = 0; y < static_cast<size_t>(picture.height); ++y)
    png_write_row(png, picture.pixels.data() + stride * y);
  png_write_end(png, info);
  return true;
}
}  // namespace

Decoded decode_png(Bytes file, const std::string& name) {
  Session session{.input = file};
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &session, on_error, on_warning);
  png_infop info = png != nullptr ? png_create_info_struct(png) : nullptr;
  const auto destroy = [&info](png_structp p) { png_destroy_read_struct(&p, &info, nullptr); };
  const std::unique_ptr<png_struct, decltype(destroy)> guard(png, destroy);
  check(info != nullptr, Code::resource, "{}: no memory to decode it", name);
  Decoded out;
  std::vector<uint8_t*> rows;
  check(read(png, info, session, out, rows), Code::bad_input, "{}: damaged PNG picture: {}", name,
        session.message);
  return out;
}

std::string encode_png(const Image& picture) {
  check(picture.width > 0 && picture.height > 0 &&
            (picture.channels == 1 || picture.channels == 3) &&
            picture.pixels.size() == static_cast<size_t>(picture.width) *
                                         static_cast<size_t>(picture.height) *
                                         static_cast<size_t>(picture.channels),
        Code::usage, "a picture of {} x {} with {} channels and {} bytes cannot be written as PNG",
        picture.width, picture.height, picture.channels, picture.pixels.size());
  std::string out;
  Session session{.output = &out};
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &session, on_error, on_warning);
  png_infop info = png != nullptr ? png_create_info_struct(png) : nullptr;
  const auto destroy = [&info](png_structp p) { png_destroy_write_struct(&p, &info); };
  const std::unique_ptr<png_struct, decltype(destroy)> guard(png, destroy);
  check(info != nullptr, Code::resource, "no memory to write a PNG");
  check(write(png, info, session, picture), Code::internal, "PNG: {}", session.message);
  return out;
}

}  // namespace vitrail::image
