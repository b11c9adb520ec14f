// SPDX-License-Identifier: Apache-2.0
#include "zoo/image/preprocess.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "zoo/image/check.h"

namespace vitrail::image {
namespace {
[[noreturn]] void bad_value(std::string_view key, std::string_view value, const char* expected) {
  throw Error(Code::bad_input,
              fmt::format("{}{} = '{}': expected {}", kPreprocessPrefix, key, value, expected));
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> out;
  size_t begin = 0;
  while (true) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    out.push_back(text.substr(begin, end - begin));
    if (end == text.size()) return out;
    begin = end + 1;
  }
}

template <typename T>
bool read_number(std::string_view text, T* value) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

// The largest side that a picture may be asked to have.
constexpr int kMaxSide = 65536;

void read_size(std::string_view key, std::string_view value, int* height, int* width) {
  *height = *width = 0;
  if (value == "none") return;
  const std::vector<std::string_view> parts = split(value, 'x');
  if (parts.size() != 2 || !read_number(parts[0], height) || !read_number(parts[1], width) ||
      *height < 1 || *width < 1 || *height > kMaxSide || *width > kMaxSide)
    bad_value(key, value, "none or HEIGHTxWIDTH, each 1 to 65536");
}

int read_side(std::string_view key, std::string_view value) {
  int side = 0;
  if (!read_number(value, &side) || side < 1 || side > kMaxSide)
    bad_value(key, value, "a number of pixels, 1 to 65536");
  return side;
}

std::array<float, 3> read_three(std::string_view key, std::string_view value) {
  std::array<float, 3> out{};
  const std::vector<std::string_view> parts = split(value, ',');
  bool good = parts.size() == out.size();
  for (size_t i = 0; good && i < out.size(); ++i)
    good = read_number(parts[i], &out[i]) && std::isfinite(out[i]);
  if (!good) bad_value(key, value, "three numbers between commas");
  return out;
}

void read_key(Preprocessing& out, std::string_view key, std::string_view value) {
  if (key == "resize") {
    out.resize_side = out.resize_height = out.resize_width = 0;
    if (value.find('x') == std::string_view::npos && value != "none")
      out.resize_side = read_side(key, value);
    else
      read_size(key, value, &out.resize_height, &out.resize_width);
  } else if (key == "max_side") {
    out.max_side = read_side(key, value);
  } else if (key == "crop") {
    read_size(key, value, &out.crop_height, &out.crop_width);
  } else if (key == "interpolation") {
    out.interpolation = filter_from_name(value);
  } else if (key == "color") {
    if (value != "rgb" && value != "bgr") bad_value(key, value, "rgb or bgr");
    out.bgr = value == "bgr";
  } else if (key == "range") {
    if (value != "divide" && value != "minmax") bad_value(key, value, "divide or minmax");
    out.minmax = value == "minmax";
  } else if (key == "divisor") {
    if (!read_number(value, &out.divisor) || !std::isfinite(out.divisor) || out.divisor == 0)
      bad_value(key, value, "a number other than 0");
  } else if (key == "mean") {
    out.mean = read_three(key, value);
  } else if (key == "std") {
    out.std = read_three(key, value);
    if (std::find(out.std.begin(), out.std.end(), 0.0f) != out.std.end())
      bad_value(key, value, "three numbers other than 0");
  } else {
    throw Error(Code::bad_input,
                fmt::format("{}{}: unknown; resize, max_side, crop, interpolation, color, range, "
                            "divisor, mean and std are understood",
                            kPreprocessPrefix, key));
  }
}

Image geometry(const Image& picture, const Preprocessing& how) {
  Image out = picture;
  if (how.resize_side > 0)
    out = resize_shorter_side(out, how.resize_side, how.interpolation, how.max_side);
  else if (how.resize_height > 0)
    out = resize(out, how.resize_height, how.resize_width, how.interpolation);
  return how.crop_height > 0 ? center_crop(out, how.crop_height, how.crop_width) : out;
}

// Height x width x 3 bytes to 3 x height x width floats. Every operation is one float32 operation,
// in the order of the models' own code, so that results agree to the bit.
void append_planes(const Image& picture, const Preprocessing& how, std::vector<float>& out) {
  const auto [low, high] = std::minmax_element(picture.pixels.begin(), picture.pixels.end());
  const float lowest = *low, extent = static_cast<float>(*high) - lowest;
  const size_t count = picture.pixels.size() / 3;
  for (size_t c = 0; c < 3; ++c) {
    const uint8_t* from = picture.pixels.data() + (how.bgr ? 2 - c : c);
    for (size_t i = 0; i < count; ++i) {
      const float sample = from[i * 3];
      if (how.minmax)
        out.push_back(extent > 0 ? (sample - lowest) / extent : 0.0f);
      else
        out.push_back((sample / how.divisor - how.mean[c]) / how.std[c]);
    }
  }
}
}  // namespace

TextMap to_text(const Preprocessing& p) {
  const auto size = [](int height, int width) {
    return height > 0 ? fmt::format("{}x{}", height, width) : std::string("none");
  };
  const auto three = [](const std::array<float, 3>& v) {
    return fmt::format("{},{},{}", v[0], v[1], v[2]);
  };
  const std::string prefix = kPreprocessPrefix;
  TextMap out = {{prefix + "resize", p.resize_side > 0 ? fmt::format("{}", p.resize_side)
                                                       : size(p.resize_height, p.resize_width)},
                 {prefix + "crop", size(p.crop_height, p.crop_width)},
                 {prefix + "interpolation", name_of(p.interpolation)},
                 {prefix + "color", p.bgr ? "bgr" : "rgb"},
                 {prefix + "range", p.minmax ? "minmax" : "divide"},
                 {prefix + "divisor", fmt::format("{}", p.divisor)},
                 {prefix + "mean", three(p.mean)},
                 {prefix + "std", three(p.std)}};
  if (p.max_side > 0) out[prefix + "max_side"] = fmt::format("{}", p.max_side);
  return out;
}

std::optional<Preprocessing> preprocessing_from_text(const TextMap& text) {
  const std::string_view prefix = kPreprocessPrefix;
  std::optional<Preprocessing> out;
  for (const auto& [key, value] : text) {
    if (!key.starts_with(prefix)) continue;
    if (!out) out.emplace();
    read_key(*out, std::string_view(key).substr(prefix.size()), value);
  }
  return out;
}

Batch preprocess(std::span<const Image> pictures, const Preprocessing& how) {
  check(!pictures.empty(), Code::usage, "no picture to preprocess");
  Batch out;
  for (const Image& picture : pictures) {
    check(picture.channels == 3 && !picture.pixels.empty(), Code::bad_input,
          "a picture with {} channels, expected 3", picture.channels);
    const Image ready = geometry(picture, how);
    if (out.values.empty()) {
      out.dims = {static_cast<int64_t>(pictures.size()), 3, ready.height, ready.width};
      out.values.reserve(ready.pixels.size() * pictures.size());
    }
    check(ready.height == out.dims[2] && ready.width == out.dims[3], Code::bad_input,
          "the pictures of one batch must have one size: {} x {} after {} x {} (height x width); "
          "resize to an exact size, crop, or run them one by one",
          ready.height, ready.width, out.dims[2], out.dims[3]);
    append_planes(ready, how, out.values);
  }
  return out;
}

}  // namespace vitrail::image
