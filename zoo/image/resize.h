// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string_view>

#include "zoo/image/image.h"

namespace vitrail::image {

/// Bicubic: a = -0.5. All but nearest widen with the reduction, so that nothing aliases.
enum class Filter : uint8_t { nearest, bilinear, bicubic, lanczos };
const char* name_of(Filter filter);
/// "nearest", "bilinear", "bicubic", "lanczos"; throws Error(bad_input) listing them.
Filter filter_from_name(std::string_view name);

/// Equal to the bit to Image.resize of Pillow 13 for 8-bit pictures: two passes, each rounded to
/// eight bits, in the same fixed-point arithmetic (22 fractional bits). Across first, except where
/// the height shrinks by more than twice as many pixels as the width; Pillow before 13 always went
/// across first, which for such shapes changes samples by a few units.
Image resize(const Image& picture, int height, int width, Filter filter);

/// torchvision's Resize(int): the shorter side becomes `side`, the longer keeps the aspect ratio
/// (rounded down). `max_side` above 0 limits the longer one, as detection models ask for.
Image resize_shorter_side(const Image& picture, int side, Filter filter, int max_side = 0);

/// torchvision's CenterCrop: offsets round half to even; what the picture lacks is zero.
Image center_crop(const Image& picture, int height, int width);

}  // namespace vitrail::image
