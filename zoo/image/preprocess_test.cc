// SPDX-License-Identifier: Apache-2.0
#include "zoo/image/preprocess.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cmath>
#include <limits>

#include "vitrail/error.h"
#include "zoo/image/postprocess.h"

namespace vitrail::image {
namespace {
using testing::ElementsAre;
using testing::HasSubstr;

// Pixels that are different and easy to make in Python, too:
// i = numpy.arange(h * w * 3); (i * i * 37 + i * 101 + (i >> 2) * 59) & 255
Image made_up(int height, int width) {
  Image out{height, width, 3, {}};
  for (int64_t i = 0; i < int64_t{height} * width * 3; ++i)
    out.pixels.push_back(static_cast<uint8_t>(i * i * 37 + i * 101 + (i >> 2) * 59));
  return out;
}

uint32_t crc_of(const Image& picture) {
  return static_cast<uint32_t>(
      ::crc32(0, picture.pixels.data(), static_cast<uInt>(picture.pixels.size())));
}

TEST(Resize, EqualsPillowToTheBit) {
  // zlib.crc32(Image.fromarray(made_up).resize((width, height), filter).tobytes()), Pillow 13.0.
  const struct {
    int from_height, from_width, height, width;
    Filter filter;
    uint32_t crc;
  } cases[] = {
      {7, 9, 3, 4, Filter::nearest, 0x6e1e598a}, {7, 9, 3, 4, Filter::bilinear, 0x97e6cb2b},
      {7, 9, 3, 4, Filter::bicubic, 0x921b3eae}, {7, 9, 3, 4, Filter::lanczos, 0x843882cb},
      {4, 3, 6, 5, Filter::nearest, 0xb32c99c7}, {4, 3, 6, 5, Filter::bilinear, 0xe3f85340},
      {4, 3, 6, 5, Filter::bicubic, 0x0c681750}, {4, 3, 6, 5, Filter::lanczos, 0x2f58bfdb},
      {5, 8, 5, 3, Filter::nearest, 0x5ae74bd0}, {5, 8, 5, 3, Filter::bilinear, 0x32857f92},
      {5, 8, 5, 3, Filter::bicubic, 0x57f51dae}, {5, 8, 5, 3, Filter::lanczos, 0xd33552ef},
      {5, 5, 8, 5, Filter::nearest, 0xbd930d2f}, {5, 5, 8, 5, Filter::bilinear, 0xb5cd415f},
      {5, 5, 8, 5, Filter::bicubic, 0x33e4da42}, {5, 5, 8, 5, Filter::lanczos, 0xa8967223},
      {9, 5, 4, 6, Filter::bicubic, 0xb28cae1b}, {9, 5, 4, 6, Filter::lanczos, 0x52e367b5}};
  for (const auto& c : cases) {
    const Image out = resize(made_up(c.from_height, c.from_width), c.height, c.width, c.filter);
    EXPECT_EQ(crc_of(out), c.crc) << c.from_height << "x" << c.from_width << " to " << c.height
                                  << "x" << c.width << " " << name_of(c.filter);
  }
  EXPECT_EQ(resize(made_up(3, 4), 3, 4, Filter::bicubic), made_up(3, 4));
}

TEST(Resize, RefusesImpossibleSizes) {
  EXPECT_THROW(resize(made_up(3, 4), 0, 4, Filter::bicubic), Error);
  EXPECT_THROW(resize(made_up(3, 4), 100'000, 100'000, Filter::bicubic), Error);
  EXPECT_THROW(resize_shorter_side(made_up(1, 3000), 256'000, Filter::bicubic), Error);
}

TEST(Resize, ShorterSideKeepsTheRatio) {
  const auto size = [](int height, int width, int side, int max_side) {
    const Image out = resize_shorter_side(
        {height, width, 1, std::vector<uint8_t>(static_cast<size_t>(height * width))}, side,
        Filter::bilinear, max_side);
    return std::pair(out.height, out.width);
  };
  EXPECT_EQ(size(480, 640, 256, 0), std::pair(256, 341));
  EXPECT_EQ(size(640, 480, 256, 0), std::pair(341, 256));
  EXPECT_EQ(size(10, 10, 4, 0), std::pair(4, 4));
  EXPECT_EQ(size(480, 640, 800, 1333), std::pair(800, 1066));
  EXPECT_EQ(size(300, 900, 800, 1333), std::pair(444, 1332));
}

TEST(CenterCrop, RoundsAndPadsLikeTorchvision) {
  const Image five{5, 1, 1, {0, 1, 2, 3, 4}};
  EXPECT_THAT(center_crop(five, 2, 1).pixels, ElementsAre(2, 3));        // round(1.5) is 2
  EXPECT_THAT(center_crop(five, 4, 1).pixels, ElementsAre(0, 1, 2, 3));  // round(0.5) is 0
  EXPECT_THAT(center_crop(five, 3, 1).pixels, ElementsAre(1, 2, 3));
  EXPECT_THAT(center_crop(five, 8, 1).pixels, ElementsAre(0, 0, 1, 2, 3, 4, 0, 0));
  EXPECT_THAT(center_crop(five, 3, 3).pixels, ElementsAre(0, 1, 0, 0, 2, 0, 0, 3, 0));
}

Preprocessing imagenet() {
  Preprocessing out;
  out.resize_side = 256;
  out.crop_height = out.crop_width = 224;
  out.interpolation = Filter::bicubic;
  out.mean = {0.485f, 0.456f, 0.406f};
  out.std = {0.229f, 0.224f, 0.225f};
  return out;
}

TEST(Preprocessing, TextParsesBack) {
  Preprocessing other;
  other.resize_height = other.resize_width = 384;
  other.bgr = other.minmax = true;
  other.divisor = 127.5f;
  Preprocessing detector;
  detector.resize_side = 800;
  detector.max_side = 1333;
  for (const Preprocessing& p : {imagenet(), other, detector, Preprocessing{}})
    EXPECT_EQ(preprocessing_from_text(to_text(p)), p);
  const TextMap text = to_text(imagenet());
  EXPECT_EQ(text.at("vitrail.preprocess.resize"), "256");
  EXPECT_EQ(text.at("vitrail.preprocess.crop"), "224x224");
  EXPECT_EQ(text.at("vitrail.preprocess.mean"), "0.485,0.456,0.406");
  EXPECT_FALSE(preprocessing_from_text({{"author", "me"}}).has_value());
}

TEST(Preprocessing, RefusesWhatItDoesNotUnderstand) {
  const auto refused = [](const std::string& key, const std::string& value, const char* part) {
    try {
      preprocessing_from_text({{"vitrail.preprocess." + key, value}});
      ADD_FAILURE() << key << " = " << value;
    } catch (const Error& error) {
      EXPECT_EQ(error.code, Code::bad_input);
      EXPECT_THAT(error.what(), HasSubstr(part));
    }
  };
  refused("rotate", "90", "unknown");
  for (const char* value :
       {"", "0", "-1", "1e9", "3x", "x3", "0x4", "3x4x5", "70000", "99999999999"})
    refused("resize", value, "resize = '");
  refused("crop", "224", "HEIGHTxWIDTH");
  refused("mean", "0.5,0.5", "three");
  refused("mean", "nan,0,0", "three");
  refused("std", "1,0,1", "other than 0");
  refused("divisor", "0", "other than 0");
  refused("interpolation", "cubic", "bicubic");
  refused("color", "gray", "rgb or bgr");
  refused("range", "max", "minmax");
}

TEST(Preprocess, NormalizesIntoPlanes) {
  const Image picture{1, 2, 3, {255, 0, 51, 0, 102, 255}};
  const Preprocessing plain = [] {
    Preprocessing p = imagenet();
    p.resize_side = p.crop_height = p.crop_width = 0;
    return p;
  }();
  const Batch out = preprocess(std::vector<Image>{picture, picture}, plain);
  EXPECT_THAT(out.dims, ElementsAre(2, 3, 1, 2));
  ASSERT_EQ(out.values.size(), 12u);
  EXPECT_EQ(out.values[0], (1.0f - 0.485f) / 0.229f);
  EXPECT_EQ(out.values[3], (102.0f / 255.0f - 0.456f) / 0.224f);
  EXPECT_EQ(out.values[6 + 4], (51.0f / 255.0f - 0.406f) / 0.225f);

  Preprocessing minmax;
  minmax.minmax = true;
  const Image dim{1, 2, 3, {10, 20, 30, 40, 50, 60}};
  EXPECT_THAT(preprocess(std::span(&dim, 1), minmax).values,
              ElementsAre(0.0f, 30 / 50.0f, 10 / 50.0f, 40 / 50.0f, 20 / 50.0f, 1.0f));
  const Image flat{1, 1, 3, {7, 7, 7}};
  EXPECT_THAT(preprocess(std::span(&flat, 1), minmax).values, ElementsAre(0, 0, 0));

  Preprocessing bgr;
  bgr.bgr = true;
  bgr.divisor = 1;
  EXPECT_THAT(preprocess(std::span(&dim, 1), bgr).values, ElementsAre(30, 60, 20, 50, 10, 40));
}

TEST(Preprocess, OneSizeABatch) {
  const std::vector<Image> two = {made_up(4, 4), made_up(4, 5)};
  EXPECT_THROW(preprocess(two, {}), Error);
  Preprocessing crop;
  crop.crop_height = crop.crop_width = 3;
  EXPECT_THAT(preprocess(two, crop).dims, ElementsAre(2, 3, 3, 3));
  EXPECT_THROW(preprocess({}, crop), Error);
}

TEST(TopClasses, SortsProbabilities) {
  const std::vector<float> logits = {1, 3, 3, -1e30f};
  const std::vector<Scored> top = top_classes(logits, 3);
  ASSERT_EQ(top.size(), 3u);
  EXPECT_EQ(top[0].index, 1);
  EXPECT_EQ(top[1].index, 2);
  EXPECT_NEAR(top[0].probability, 1 / (2 + std::exp(-2.0)), 1e-15);
  EXPECT_EQ(top_classes(logits, 99).size(), 4u);
  EXPECT_TRUE(top_classes({}, 5).empty());
  const float infinite[] = {1, std::numeric_limits<float>::infinity()};
  EXPECT_EQ(top_classes(infinite, 1)[0].probability, 1.0);
  const float nan[] = {1, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_THROW(top_classes(nan, 1), Error);
}

TEST(Cube, FlatSpectraAreGrayAndSingleBandsHaveTheirColour) {
  const int64_t bands = 31;
  std::vector<float> values(bands * 4, 0.0f);
  // Pixels: flat spectrum, 450 nm, 540 nm, 640 nm.
  for (int64_t band = 0; band < bands; ++band) values[static_cast<size_t>(band * 4)] = 0.5f;
  values[5 * 4 + 1] = values[14 * 4 + 2] = values[24 * 4 + 3] = 1.0f;
  const Cube cube{bands, 1, 4, values};
  const std::vector<uint8_t> p = false_color(cube).pixels;
  EXPECT_EQ(p[0], p[1]);
  EXPECT_EQ(p[1], p[2]);
  EXPECT_EQ(p[0], 255);
  EXPECT_EQ(*std::max_element(p.begin() + 3, p.begin() + 6), p[5]);
  EXPECT_EQ(*std::max_element(p.begin() + 6, p.begin() + 9), p[7]);
  EXPECT_EQ(*std::max_element(p.begin() + 9, p.begin() + 12), p[9]);
  EXPECT_GT(p[5], p[3]);
  EXPECT_GT(p[7], p[8]);
  EXPECT_GT(p[9], p[10]);
}

TEST(Cube, BandsStretchAndCheck) {
  std::vector<float> values(2 * 200);
  for (size_t i = 0; i < 200; ++i) values[200 + i] = static_cast<float>(i);
  const Cube cube{2, 10, 20, values};
  const Image gray = band_gray(cube, 1);
  EXPECT_EQ(gray.channels, 1);
  EXPECT_EQ(gray.pixels.front(), 0);
  EXPECT_EQ(gray.pixels.back(), 255);
  EXPECT_EQ(band_gray(cube, 0).pixels[7], 0);  // a band of one value
  EXPECT_EQ(bands_rgb(cube, {1, 0, 1}).pixels.size(), 600u);
  EXPECT_THROW(band_gray(cube, 2), Error);
  EXPECT_THROW(band_gray(cube, -1), Error);
  EXPECT_THROW(false_color({3, 10, 20, values}), Error);
  EXPECT_THROW(false_color({2, 0, 20, {}}), Error);
  values[3] = std::numeric_limits<float>::quiet_NaN();
  values[4] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(false_color(cube).pixels.size(), 600u);
}
}  // namespace
}  // namespace vitrail::image
