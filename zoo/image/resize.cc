// SPDX-License-Identifier: Apache-2.0
#include "zoo/image/resize.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "zoo/image/check.h"

namespace vitrail::image {
namespace {
constexpr int kBits = 22;  // eight for the sample, two for sums outside 0..1

struct Kernel {
  double (*weight)(double x);
  double support;
};

double bilinear(double x) { return std::max(0.0, 1.0 - std::abs(x)); }

// Keys' cubic convolution with a = -1/2.
double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}
double lanczos(double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }

Kernel kernel_of(Filter filter) {
  switch (filter) {
    case Filter::bilinear:
      return {bilinear, 1.0};
    case Filter::bicubic:
      return {bicubic, 2.0};
    default:
      return {lanczos, 3.0};
  }
}

// For each output sample: the first input sample and the weights from there on.
struct Taps {
  struct Window {
    size_t first = 0, count = 0;
  };
  std::vector<Window> windows;
  std::vector<int32_t> weights;
  size_t stride = 0;
};

Taps make_taps(int from, int to, const Kernel& kernel) {
  const double scale = static_cast<double>(from) / to;
  const double widening = std::max(scale, 1.0);
  const double support = kernel.support * widening, inverse = 1.0 / widening;
  Taps out;
  out.stride = static_cast<size_t>(std::ceil(support)) * 2 + 1;
  out.windows.resize(static_cast<size_t>(to));
  out.weights.assign(out.stride * static_cast<size_t>(to), 0);
  std::vector<double> exact;
  for (int i = 0; i < to; ++i) {
    const double center = (i + 0.5) * scale;
    const int first = std::max(static_cast<int>(center - support + 0.5), 0);
    const int last = std::min(static_cast<int>(center + support + 0.5), from);
    exact.clear();
    double sum = 0;
    for (int x = first; x < last; ++x) {
      exact.push_back(kernel.weight((x - center + 0.5) * inverse));
      sum += exact.back();
    }
    Taps::Window& window = out.windows[static_cast<size_t>(i)];
    window = {static_cast<size_t>(first), exact.size()};
    int32_t* weights = out.weights.data() + out.stride * static_cast<size_t>(i);
    for (size_t k = 0; k < exact.size(); ++k) {
      const double weight = (sum != 0.0 ? exact[k] / sum : exact[k]) * (1 << kBits);
      weights[k] = static_cast<int32_t>(weight + (weight < 0 ? -0.5 : 0.5));
    }
  }
  return out;
}

uint8_t to_byte(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kBits, 0, 255)); }

Image resample_columns(const Image& picture, int width, const Kernel& kernel) {
  const Taps taps = make_taps(picture.width, width, kernel);
  const auto c = static_cast<size_t>(picture.channels);
  Image out{picture.height, width, picture.channels, {}};
  out.pixels.resize(static_cast<size_t>(picture.height) * static_cast<size_t>(width) * c);
  uint8_t* to = out.pixels.data();
  for (size_t y = 0; y < static_cast<size_t>(picture.height); ++y) {
    const uint8_t* row = picture.pixels.data() + y * static_cast<size_t>(picture.width) * c;
    for (size_t x = 0; x < taps.windows.size(); ++x) {
      const auto [first, count] = taps.windows[x];
      const int32_t* weights = taps.weights.data() + taps.stride * x;
      for (size_t channel = 0; channel < c; ++channel) {
        int32_t sum = 1 << (kBits - 1);
        const uint8_t* from = row + first * c + channel;
        for (size_t k = 0; k < count; ++k) sum += from[k * c] * weights[k];
        *to++ = to_byte(sum);
      }
    }
  }
  return out;
}

Image resample_rows(const Image& picture, int height, const Kernel& kernel) {
  const Taps taps = make_taps(picture.height, height, kernel);
  const size_t stride = static_cast<size_t>(picture.width) * static_cast<size_t>(picture.channels);
  Image out{height, picture.width, picture.channels, {}};
  out.pixels.resize(static_cast<size_t>(height) * stride);
  std::vector<int32_t> sums(stride);
  for (size_t y = 0; y < taps.windows.size(); ++y) {
    const auto [first, count] = taps.windows[y];
    std::fill(sums.begin(), sums.end(), 1 << (kBits - 1));
    for (size_t k = 0; k < count; ++k) {
      const uint8_t* from = picture.pixels.data() + (first + k) * stride;
      const int32_t weight = taps.weights[taps.stride * y + k];
      for (size_t x = 0; x < stride; ++x) sums[x] += from[x] * weight;
    }
    std::transform(sums.begin(), sums.end(),
                   out.pixels.begin() + static_cast<std::ptrdiff_t>(y * stride), to_byte);
  }
  return out;
}

// Input sample of each output sample. The position is summed up step by step, as Pillow does,
// because the rounding decides at exact halves.
std::vector<size_t> nearest_samples(int from, int to) {
  const double scale = static_cast<double>(from) / to;
  std::vector<size_t> out(static_cast<size_t>(to));
  double position = scale * 0.5;
  for (size_t& sample : out) {
    sample = std::min(static_cast<size_t>(position), static_cast<size_t>(from) - 1);
    position += scale;
  }
  return out;
}

Image resize_nearest(const Image& picture, int height, int width) {
  const std::vector<size_t> rows = nearest_samples(picture.height, height);
  const std::vector<size_t> columns = nearest_samples(picture.width, width);
  const auto c = static_cast<size_t>(picture.channels);
  Image out{height, width, picture.channels, {}};
  out.pixels.reserve(rows.size() * columns.size() * c);
  for (const size_t y : rows)
    for (const size_t x : columns) {
      const uint8_t* from =
          picture.pixels.data() + (y * static_cast<size_t>(picture.width) + x) * c;
      out.pixels.insert(out.pixels.end(), from, from + c);
    }
  return out;
}

void check_size(int64_t height, int64_t width) {
  check(height > 0 && width > 0 && height <= kMaxPixels / width, Code::bad_input,
        "a picture cannot become {} x {} (height x width; at most {} pixels)", height, width,
        kMaxPixels);
}

// Python's round(): halves to even.
int rounded_half(int doubled) {
  const int floor = (doubled - (doubled & 1)) / 2;
  return (doubled & 1) != 0 && (floor & 1) != 0 ? floor + 1 : floor;
}
}  // namespace

const char* name_of(Filter filter) {
  switch (filter) {
    case Filter::nearest:
      return "nearest";
    case Filter::bilinear:
      return "bilinear";
    case Filter::bicubic:
      return "bicubic";
    case Filter::lanczos:
      return "lanczos";
  }
  return "unknown";
}

Filter filter_from_name(std::string_view name) {
  for (const Filter filter : {Filter::nearest, Filter::bilinear, Filter::bicubic, Filter::lanczos})
    if (name == name_of(filter)) return filter;
  throw Error(
      Code::bad_input,
      fmt::format("interpolation '{}': expected nearest, bilinear, bicubic or lanczos", name));
}

Image resize(const Image& picture, int height, int width, Filter filter) {
  check_size(picture.height, picture.width);
  check_size(height, width);
  if (height == picture.height && width == picture.width) return picture;
  if (filter == Filter::nearest) return resize_nearest(picture, height, width);
  const Kernel kernel = kernel_of(filter);
  if (width == picture.width) return resample_rows(picture, height, kernel);
  if (height == picture.height) return resample_columns(picture, width, kernel);
  // The order shows, because the picture between the passes is rounded to bytes.
  const bool rows_first =
      height < picture.height && picture.height - height > 2 * (int64_t{picture.width} - width);
  if (rows_first) {
    check_size(height, picture.width);
    return resample_columns(resample_rows(picture, height, kernel), width, kernel);
  }
  check_size(picture.height, width);
  return resample_rows(resample_columns(picture, width, kernel), height, kernel);
}

Image resize_shorter_side(const Image& picture, int side, Filter filter, int max_side) {
  check_size(picture.height, picture.width);
  const int64_t shorter = std::min(picture.height, picture.width);
  const int64_t longer = std::max(picture.height, picture.width);
  int64_t target = side, other = side * longer / shorter;
  if (max_side > 0 && other > max_side) {
    // DETR's rule: the shorter side that makes the longer one fit, rounded.
    target = static_cast<int64_t>(
        std::nearbyint(static_cast<double>(max_side) * static_cast<double>(shorter) /
                       static_cast<double>(longer)));
    other = target * longer / shorter;
  }
  const bool wide = picture.width >= picture.height;
  const int64_t height = wide ? target : other, width = wide ? other : target;
  check_size(height, width);
  return resize(picture, static_cast<int>(height), static_cast<int>(width), filter);
}

Image center_crop(const Image& picture, int height, int width) {
  check_size(height, width);
  const auto c = static_cast<size_t>(picture.channels);
  Image out{height, width, picture.channels, {}};
  out.pixels.assign(static_cast<size_t>(height) * static_cast<size_t>(width) * c, 0);
  // Where the crop begins in the picture; below zero where it is larger and pads.
  const auto begin = [](int have, int want) {
    return have >= want ? rounded_half(have - want) : -((want - have) / 2);
  };
  const int top = begin(picture.height, height), left = begin(picture.width, width);
  const int x0 = std::max(0, -left), x1 = std::min(width, picture.width - left);
  for (int y = std::max(0, -top); y < std::min(height, picture.height - top); ++y) {
    const uint8_t* from =
        picture.pixels.data() + (static_cast<size_t>(y + top) * static_cast<size_t>(picture.width) +
                                 static_cast<size_t>(x0 + left)) *
                                    c;
    uint8_t* to =
        out.pixels.data() +
        (static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x0)) * c;
    std::copy(from, from + static_cast<size_t>(x1 - x0) * c, to);
  }
  return out;
}

}  // namespace vitrail::image
