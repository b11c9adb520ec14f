// SPDX-License-Identifier: Apache-2.0
#include <csetjmp>
#include <cstdio>

#include <jpeglib.h>

#include <jerror.h>

#include "zoo/image/check.h"
#include "zoo/image/codecs.h"

namespace vitrail::image {
namespace {
constexpr std::string_view kExif("Exif\0\0", 6);
// A progressive file of a few kilobytes can hold thousands of scans of the whole picture.
constexpr int kMaxScans = 200;

struct Session {
  jpeg_decompress_struct info;
  jpeg_error_mgr errors;
  jpeg_progress_mgr progress;
  std::jmp_buf escape;
  char message[JMSG_LENGTH_MAX];
};
Session& session_of(j_common_ptr info) { return *static_cast<Session*>(info->client_data); }

[[noreturn]] void on_error(j_common_ptr info) {
  info->err->format_message(info, session_of(info).message);
  std::longjmp(session_of(info).escape, 1);
}

void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;  // trace
  // libjpeg would fill what is missing with gray; a picture that is not whole is an error here.
  const int code = info->err->msg_code;
  if (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE ||
      code == JWRN_BOGUS_PROGRESSION || code == JWRN_ARITH_BAD_CODE)
    on_error(info);
}

void on_progress(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMaxScans) return;
  std::snprintf(session_of(info).message, JMSG_LENGTH_MAX, "more than %d scans", kMaxScans);
  std::longjmp(session_of(info).escape, 1);
}

// Pillow's arithmetic: product of two bytes over 255, rounded.
uint8_t scaled(unsigned a, unsigned b) {
  const unsigned t = a * b + 128;
  return static_cast<uint8_t>(((t >> 8) + t) >> 8);
}
// Adobe stores CMYK inverted, so that each sample is already 255 minus the ink.
void cmyk_to_rgb(const uint8_t* cmyk, uint8_t* rgb) {
  const unsigned light = cmyk[3];
  for (int c = 0; c < 3; ++c) rgb[c] = static_cast<uint8_t>(light - scaled(255u - cmyk[c], light));
}

// Everything between setjmp and longjmp lives here without destructors; the caller owns the memory.
bool read(Session& session, Bytes file, Decoded& out, std::vector<uint8_t>& row) {
  jpeg_decompress_struct& info = session.info;
  info.err = ::jpeg_std_error(&session.errors);
  session.errors.error_exit = on_error;
  session.errors.emit_message = on_message;
  info.client_data = &session;
  if (setjmp(session.escape) != 0) {
    ::jpeg_destroy_decompress(&info);
    return false;
  }
  ::jpeg_create_decompress(&info);
  session.progress.progress_monitor = on_progress;
  info.progress = &session.progress;
  ::jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(file.data()), file.size());
  constexpr unsigned kWholeMarker = 0xFFFF;
  ::jpeg_save_markers(&info, JPEG_APP0 + 1, kWholeMarker);
  ::jpeg_read_header(&info, TRUE);
  const int64_t pixels = int64_t{info.image_width} * info.image_height;
  if (pixels > kMaxPixels) {
    std::snprintf(session.message, JMSG_LENGTH_MAX, "%u x %u pixels, at most %lld are decoded",
                  info.image_width, info.image_height, static_cast<long long>(kMaxPixels));
    ::jpeg_destroy_decompress(&info);
    return false;
  }
  // Every block of 64 pixels takes a bit at least, so that a small file cannot claim a large
  // picture.
  constexpr int64_t kMaxPixelsPerByte = 512;
  if (!info.arith_code && pixels / kMaxPixelsPerByte > static_cast<int64_t>(file.size())) {
    std::snprintf(session.message, JMSG_LENGTH_MAX, "%u x %u pixels in %zu bytes: it is cut short",
                  info.image_width, info.image_height, file.size());
    ::jpeg_destroy_decompress(&info);
    return false;
  }
  for (const jpeg_marker_struct* marker = info.marker_list; marker != nullptr;
       marker = marker->next) {
    const std::string_view data(reinterpret_cast<const char*>(marker->data), marker->data_length);
    if (data.starts_with(kExif)) {
      out.exif = data.substr(kExif.size());
      break;
    }
  }
  const bool cmyk = info.num_components == 4;
  info.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
  ::jpeg_start_decompress(&info);
  out.picture.height = static_cast<int>(info.output_height);
  out.picture.width = static_cast<int>(info.output_width);
  const size_t width = info.output_width;
  row.resize(width * static_cast<size_t>(info.output_components));
  // Reserved, not filled: what a damaged file does not reach is never touched.
  out.picture.pixels.reserve(static_cast<size_t>(pixels) * 3);
  while (info.output_scanline < info.output_height) {
    JSAMPROW rows[] = {row.data()};
    ::jpeg_read_scanlines(&info, rows, 1);
    const size_t begin = out.picture.pixels.size();
    if (cmyk) {
      out.picture.pixels.resize(begin + width * 3);
      for (size_t x = 0; x < width; ++x)
        cmyk_to_rgb(row.data() + x * 4, out.picture.pixels.data() + begin + x * 3);
    } else {
      out.picture.pixels.insert(out.picture.pixels.end(), row.begin(), row.end());
    }
  }
  ::jpeg_finish_decompress(&info);
  ::jpeg_destroy_decompress(&info);
  return true;
}
}  // namespace

Decoded decode_jpeg(Bytes file, const std::string& name) {
  Session session{};
  Decoded out;
  std::vector<uint8_t> row;
  check(read(session, file, out, row), Code::bad_input, "{}: damaged JPEG picture: {}", name,
        session.message);
  return out;
}

}  // namespace vitrail::image
