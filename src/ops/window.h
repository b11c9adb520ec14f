// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "ops/rules.h"

// Sliding windows: what Conv, ConvTranspose and the pools share.
namespace vitrail {

/// One spatial axis of a sliding window.
struct WindowAxis {
  int64_t stride = 1, dilation = 1;
  Expr kernel = 1, pad_begin = 0, pad_end = 0;
  Expr out = 1;  ///< number of positions
  /// Input elements that a position spans: dilation * (kernel - 1) + 1.
  Expr span() const { return (kernel - 1) * Expr(dilation) + 1; }
};
/// The same with numbers.
struct FixedWindowAxis {
  int64_t stride, dilation, kernel, pad_begin, pad_end, out;
};
std::vector<FixedWindowAxis> fixed(const std::vector<WindowAxis>& axes);

/// The windows over the spatial extents `in` from the attributes strides, dilations, pads, auto_pad
/// and ceil_mode. Throws Error(bad_input) for lists of the wrong length, a stride or dilation below
/// 1, negative pads, and a kernel larger than the padded input.
std::vector<WindowAxis> windows_of(InferContext& ctx, const Shape& in, const Shape& kernel);
/// strides, dilations and pads without the extents, which ConvTranspose turns round.
std::vector<WindowAxis> window_attributes(const InferContext& ctx, const Shape& kernel);
/// auto_pad, checked: NOTSET, SAME_UPPER, SAME_LOWER or VALID. Explicit pads forbid the others.
std::string auto_pad_of(const InferContext& ctx);
/// The attribute kernel_shape, checked against `spatial` axes; throws when a value is below 1.
std::vector<int64_t> kernel_shape_of(const InferContext& ctx, size_t spatial);

/// Extents from the third on: those of the image in [N, C, ...]. Throws Error(bad_input) below
/// rank 3.
Shape spatial_of(const ValueInfo& in, const char* what);
/// Windows over up to three axes as exactly three, trivial ones first, so that references are three
/// plain loops. Throws Error(unsupported) above three.
std::vector<FixedWindowAxis> as_three(std::vector<FixedWindowAxis> axes);
Dims as_three(const Dims& spatial);

}  // namespace vitrail
