// SPDX-License-Identifier: Apache-2.0
#include "zoo/image/image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdlib>
#include <filesystem>

#include "vitrail/error.h"
#include "zoo/image/codecs.h"

namespace vitrail::image {
namespace {
using namespace std::string_view_literals;

struct Case {
  const char* name;
  std::string_view file;
  int height, width;
  std::string_view rgb;
};
const Case kCases[] = {
#include "zoo/image/cases.inc"
};

const Case& case_of(std::string_view name) {
  for (const Case& c : kCases)
    if (name == c.name) return c;
  throw std::runtime_error("no such case");
}

template <typename Action>
void expect_error(Code code, const std::string& part, Action&& action) {
  try {
    action();
    ADD_FAILURE() << "no error; expected one with '" << part << "'";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, code) << error.what();
    EXPECT_THAT(error.what(), testing::HasSubstr(part));
  }
}

// In memory of its own size, so that ASan sees a read past its end.
Image decode_text(std::string_view file) {
  const std::vector<char> copy(file.begin(), file.end());
  return decode(as_bytes({copy.data(), copy.size()}), "'photo'");
}

TEST(Decode, EqualsPillow) {
  for (const Case& c : kCases) {
    const Image picture = decode_text(c.file);
    ASSERT_EQ(picture.height, c.height) << c.name;
    ASSERT_EQ(picture.width, c.width) << c.name;
    ASSERT_EQ(picture.pixels.size(), c.rgb.size()) << c.name;
    // Pillow brings its own libjpeg-turbo, whose chroma upsampling may round otherwise by version.
    const int tolerance = c.file.starts_with("\xff\xd8") ? 1 : 0;
    for (size_t i = 0; i < c.rgb.size(); ++i)
      ASSERT_NEAR(picture.pixels[i], static_cast<unsigned char>(c.rgb[i]), tolerance)
          << c.name << " " << i;
  }
}

TEST(Decode, GrayRepeats) {
  const Image gray{1, 2, 1, {7, 200}};
  const std::string png = encode_png(gray);
  EXPECT_EQ(decode_text(png).pixels, (std::vector<uint8_t>{7, 7, 7, 200, 200, 200}));
}

TEST(Decode, EveryTruncationIsAnError) {
  for (const Case& c : kCases) {
    // The bytes behind the last pixel (a JPEG's end marker) may be missing unnoticed in none of
    // them.
    for (size_t n = 0; n < c.file.size(); ++n)
      EXPECT_THROW(decode_text(c.file.substr(0, n)), Error)
          << c.name << " at " << n << " of " << c.file.size();
  }
}

TEST(Decode, FlippedBytesNeverCrash) {
  for (const Case& c : kCases)
    for (size_t n = 0; n < c.file.size(); ++n)
      for (const int flip : {0x01, 0x80, 0xFF}) {
        std::string changed(c.file);
        changed[n] = static_cast<char>(changed[n] ^ flip);
        try {
          const Image picture = decode_text(changed);
          EXPECT_EQ(picture.pixels.size(),
                    static_cast<size_t>(picture.height) * static_cast<size_t>(picture.width) * 3);
        } catch (const Error&) {
        }
      }
}

TEST(Decode, RefusesHugePicturesBeforeTakingMemory) {
  std::string jpeg(case_of("jpeg_444").file);
  const size_t frame = jpeg.find("\xff\xc0");
  ASSERT_NE(frame, std::string::npos);
  jpeg.replace(frame + 5, 4, "\xff\xff\xff\xff");                             // height, width
  expect_error(Code::bad_input, "65500 pixels", [&] { decode_text(jpeg); });  // libjpeg's own limit
  jpeg.replace(frame + 5, 4, "\xff\0\xff\0"sv);
  expect_error(Code::bad_input, "65280 x 65280", [&] { decode_text(jpeg); });

  std::string png(case_of("png_rgb").file);
  png.replace(16, 8, "\0\0\xff\xff\0\0\xff\xff"sv);
  const auto crc = ::crc32(0, reinterpret_cast<const Bytef*>(png.data()) + 12, 17);
  for (size_t i = 0; i < 4; ++i) png[29 + i] = static_cast<char>(crc >> (24 - 8 * i));
  expect_error(Code::bad_input, "too many pixels", [&] { decode_text(png); });
}

TEST(Decode, RefusesOtherKinds) {
  expect_error(Code::bad_input, "JPEG or PNG", [] { decode_text(""); });
  expect_error(Code::bad_input, "JPEG or PNG", [] { decode_text("GIF89a"); });
  expect_error(Code::bad_input, "damaged JPEG", [] { decode_text("\xff\xd8\xff"); });
  expect_error(Code::bad_input, "damaged PNG", [] { decode_text("\x89PNG\r\n\x1a\n"); });
  expect_error(Code::io, "No such file", [] { load("/no/such/photo.jpg"); });
}

TEST(Exif, DamagedStructuresMeanUpright) {
  const std::string good("MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0", 22);
  EXPECT_EQ(exif_orientation(good), 6);
  for (size_t n = 0; n < good.size() - 2; ++n)
    EXPECT_EQ(exif_orientation(good.substr(0, n)), 1) << n;
  std::string changed = good;
  changed.replace(4, 4, "\xff\xff\xff\xff");
  EXPECT_EQ(exif_orientation(changed), 1);
  changed = good;
  changed[19] = 9;
  EXPECT_EQ(exif_orientation(changed), 1);
}

TEST(Png, WritesWhatItReads) {
  const Image picture{2, 3, 3, {0, 1, 2, 3, 4, 5, 6, 7, 8, 250, 251, 252, 253, 254, 255, 9, 9, 9}};
  EXPECT_EQ(decode_text(encode_png(picture)), picture);
  expect_error(Code::usage, "cannot be written", [] { encode_png({2, 3, 3, {1}}); });
  expect_error(Code::usage, "cannot be written", [] { encode_png({0, 0, 3, {}}); });
  std::string name = (std::filesystem::temp_directory_path() / "vitrail-png-XXXXXX").string();
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  save_png(name + "/a.png", picture);
  EXPECT_EQ(load(name + "/a.png"), picture);
  std::filesystem::remove_all(name);
}
}  // namespace
}  // namespace vitrail::image
