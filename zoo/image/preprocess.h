// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <array>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "zoo/image/resize.h"

namespace vitrail::image {

/// How a model wants its pictures. Its text form travels in ONNX metadata and in plans under keys
/// "vitrail.preprocess.<name>", so that a file is enough to run a model:
///
///     resize         "none", "256" (shorter side), "384x384" (height x width)
///     max_side       "1333": with a shorter side, limits the longer one
///     crop           "none", "224x224" (from the centre)
///     interpolation  "nearest", "bilinear", "bicubic", "lanczos"
///     color          "rgb", "bgr"
///     range          "divide" (by divisor, then mean and std), "minmax" (each picture to 0..1)
///     divisor        "255"
///     mean, std      "0.485,0.456,0.406": of the divided samples, in the order of `color`
struct Preprocessing {
  int resize_side = 0;                      ///< shorter side; 0: see resize_height
  int resize_height = 0, resize_width = 0;  ///< exact size; 0: not resized
  int max_side = 0;
  int crop_height = 0, crop_width = 0;  ///< 0: not cropped
  Filter interpolation = Filter::bilinear;
  bool bgr = false;
  /// (x - min) / (max - min) over all samples of the picture, as MST++ does; a picture of one
  /// colour becomes 0. Divisor, mean and std are not used then.
  bool minmax = false;
  float divisor = 255;
  std::array<float, 3> mean = {0, 0, 0}, std = {1, 1, 1};
  bool operator==(const Preprocessing&) const = default;
};

using TextMap = std::map<std::string, std::string>;
constexpr const char* kPreprocessPrefix = "vitrail.preprocess.";

/// All keys, with the prefix.
TextMap to_text(const Preprocessing& preprocessing);
/// Nothing when no key has the prefix. Missing keys keep their defaults; an unknown key or value
/// throws Error(bad_input) naming it and what is understood.
std::optional<Preprocessing> preprocessing_from_text(const TextMap& text);

/// Pictures ready for a model: dims are {pictures, 3, height, width}.
struct Batch {
  std::array<int64_t, 4> dims{};
  std::vector<float> values;
};
/// Throws Error(bad_input) when the pictures do not come out in one size.
Batch preprocess(std::span<const Image> pictures, const Preprocessing& how);

}  // namespace vitrail::image
