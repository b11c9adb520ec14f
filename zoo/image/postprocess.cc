// SPDX-License-Identifier: Apache-2.0
#include "zoo/image/postprocess.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "zoo/image/check.h"

namespace vitrail::image {
namespace {
struct Lobe {
  double height, center, left, right;  // nm; widths below and above the center
  double at(double nm) const {
    const double t = (nm - center) / (nm < center ? left : right);
    return height * std::exp(-0.5 * t * t);
  }
};
// The CIE 1931 colour matching functions as sums of lobes: Wyman, Sloan, Shirley, "Simple Analytic
// Approximations to the CIE XYZ Color Matching Functions", JCGT 2(2), 2013, section 2.2.
constexpr Lobe kX[] = {
    {1.056, 599.8, 37.9, 31.0}, {0.362, 442.0, 16.0, 26.7}, {-0.065, 501.1, 20.4, 26.2}};
constexpr Lobe kY[] = {{0.821, 568.8, 46.9, 40.5}, {0.286, 530.9, 16.3, 31.1}};
constexpr Lobe kZ[] = {{1.217, 437.0, 11.8, 36.0}, {0.681, 459.0, 26.0, 13.8}};

double sum_of(std::span<const Lobe> lobes, double nm) {
  return std::accumulate(lobes.begin(), lobes.end(), 0.0,
                         [nm](double sum, const Lobe& lobe) { return sum + lobe.at(nm); });
}

using Rgb = std::array<double, 3>;

// Linear sRGB of one band (IEC 61966-2-1).
Rgb primaries_of(double nm) {
  const double x = sum_of(kX, nm), y = sum_of(kY, nm), z = sum_of(kZ, nm);
  return {3.2406 * x - 1.5372 * y - 0.4986 * z, -0.9689 * x + 1.8758 * y + 0.0415 * z,
          0.0557 * x - 0.2040 * y + 1.0570 * z};
}

uint8_t to_srgb(double linear) {
  const double v = std::clamp(linear, 0.0, 1.0);
  const double encoded = v <= 0.0031308 ? 12.92 * v : 1.055 * std::pow(v, 1 / 2.4) - 0.055;
  return static_cast<uint8_t>(encoded * 255 + 0.5);
}

void check_cube(const Cube& cube) {
  check(cube.bands > 0 && cube.height > 0 && cube.width > 0 &&
            cube.height <= kMaxPixels / cube.width &&
            cube.values.size() / static_cast<size_t>(cube.bands) ==
                static_cast<size_t>(cube.height * cube.width) &&
            cube.values.size() % static_cast<size_t>(cube.bands) == 0,
        Code::bad_input, "a cube of {} bands, {} x {}, with {} values", cube.bands, cube.height,
        cube.width, cube.values.size());
}

// NaN counts as 0, so that a broken model still shows where it is broken: as black.
float finite(float v) { return std::isnan(v) ? 0.0f : std::clamp(v, -1e30f, 1e30f); }

float percentile(std::vector<float> values, double part) {
  const auto at =
      values.begin() + static_cast<std::ptrdiff_t>(part * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

void stretch_band(const Cube& cube, int64_t band, size_t channel, Image& out) {
  check(0 <= band && band < cube.bands, Code::usage, "band {} of a cube with bands 0 to {}", band,
        cube.bands - 1);
  const auto count = static_cast<size_t>(cube.height * cube.width);
  const auto source = cube.values.subspan(static_cast<size_t>(band) * count, count);
  std::vector<float> values(count);
  std::transform(source.begin(), source.end(), values.begin(), finite);
  const float low = percentile(values, 0.01), high = percentile(values, 0.99);
  const float scale = high > low ? 255 / (high - low) : 0;
  for (size_t i = 0; i < count; ++i)
    out.pixels[i * static_cast<size_t>(out.channels) + channel] =
        static_cast<uint8_t>(std::clamp((values[i] - low) * scale, 0.0f, 255.0f) + 0.5f);
}

Image empty_picture(const Cube& cube, int channels) {
  check_cube(cube);
  Image out{static_cast<int>(cube.height), static_cast<int>(cube.width), channels, {}};
  out.pixels.resize(static_cast<size_t>(cube.height * cube.width * channels));
  return out;
}
}  // namespace

std::vector<Scored> top_classes(std::span<const float> logits, size_t k) {
  check(std::none_of(logits.begin(), logits.end(), [](float v) { return std::isnan(v); }),
        Code::bad_input, "the model's scores contain NaN");
  if (logits.empty()) return {};
  const double greatest = *std::max_element(logits.begin(), logits.end());
  // An infinite score takes everything.
  const auto weight = [&](float v) {
    return v == greatest ? 1.0 : std::exp(static_cast<double>(v) - greatest);
  };
  double sum = 0;
  for (const float v : logits) sum += weight(v);
  std::vector<Scored> out(logits.size());
  for (size_t i = 0; i < logits.size(); ++i)
    out[i] = {static_cast<int64_t>(i), weight(logits[i]) / sum};
  k = std::min(k, out.size());
  std::partial_sort(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(k), out.end(),
                    [](const Scored& a, const Scored& b) {
                      return a.probability != b.probability ? a.probability > b.probability
                                                            : a.index < b.index;
                    });
  out.resize(k);
  return out;
}

Image false_color(const Cube& cube) {
  Image out = empty_picture(cube, 3);
  const auto count = static_cast<size_t>(cube.height * cube.width);
  std::vector<float> linear(count * 3);
  Rgb white{};
  for (int64_t band = 0; band < cube.bands; ++band) {
    const double part =
        cube.bands > 1 ? static_cast<double>(band) / static_cast<double>(cube.bands - 1) : 0.5;
    const Rgb weights = primaries_of(cube.first_nm + part * (cube.last_nm - cube.first_nm));
    const float* from = cube.values.data() + static_cast<size_t>(band) * count;
    for (size_t c = 0; c < 3; ++c) {
      white[c] += weights[c];
      const auto weight = static_cast<float>(weights[c]);
      for (size_t i = 0; i < count; ++i) linear[i * 3 + c] += weight * finite(from[i]);
    }
  }
  for (size_t i = 0; i < linear.size(); ++i) {
    const double w = white[i % 3];
    // Few bands may leave a primary without light, or with less than none.
    linear[i] = w > 1e-9 ? static_cast<float>(linear[i] / w) : 0.0f;
  }
  std::vector<float> brightness(count);
  for (size_t i = 0; i < count; ++i)
    brightness[i] = std::max({linear[i * 3], linear[i * 3 + 1], linear[i * 3 + 2]});
  const float exposure = std::max(percentile(std::move(brightness), 0.99), 1e-6f);
  for (size_t i = 0; i < linear.size(); ++i)
    out.pixels[i] = to_srgb(static_cast<double>(linear[i]) / exposure);
  return out;
}

Image band_gray(const Cube& cube, int64_t band) {
  Image out = empty_picture(cube, 1);
  stretch_band(cube, band, 0, out);
  return out;
}

Image bands_rgb(const Cube& cube, std::array<int64_t, 3> bands) {
  Image out = empty_picture(cube, 3);
  for (size_t c = 0; c < 3; ++c) stretch_band(cube, bands[c], c, out);
  return out;
}

}  // namespace vitrail::image
