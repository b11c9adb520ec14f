// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <array>
#include <span>
#include <vector>

#include "zoo/image/image.h"

namespace vitrail::image {

struct Scored {
  int64_t index = 0;
  double probability = 0;
};
/// Softmax (in float64) of one picture's logits and its `k` greatest entries, the greatest first;
/// equal ones in the order of their index. Throws Error(bad_input) for a NaN.
std::vector<Scored> top_classes(std::span<const float> logits, size_t k);

/// A spectral image: bands x height x width floats of one picture, the bands at equal distances
/// from `first_nm` to `last_nm` nanometres.
struct Cube {
  int64_t bands = 0, height = 0, width = 0;
  std::span<const float> values;
  double first_nm = 400, last_nm = 700;
};

/// The picture as an eye would see the spectra under white light, in sRGB: bands weighted with the
/// CIE 1931 observer, scaled so that a flat spectrum is gray. The brightest of 99 % of the pixels
/// becomes white. Throws Error(bad_input) when extents and values disagree.
Image false_color(const Cube& cube);

/// One band in gray, or three bands as red, green and blue; each stretched from its 1st to its 99th
/// percentile. Throws Error(usage) for a band outside the cube.
Image band_gray(const Cube& cube, int64_t band);
Image bands_rgb(const Cube& cube, std::array<int64_t, 3> bands);

}  // namespace vitrail::image
