// SPDX-License-Identifier: Apache-2.0
#include "ops/window.h"

#include <algorithm>

namespace vitrail {
namespace {
constexpr int64_t kLargest =
    int64_t{1} << 40;  // of strides, dilations, pads: sums of a few stay far from overflow

std::vector<int64_t> list_attribute(const InferContext& ctx, const char* name, size_t length,
                                    int64_t fallback, int64_t least) {
  auto list = ctx.attrs.integers(name, std::vector<int64_t>(length, fallback));
  require(list.size() == length, Code::bad_input, "{} {}: expected {} numbers", name,
          to_string(list), length);
  require(
      std::all_of(list.begin(), list.end(), [&](int64_t v) { return least <= v && v < kLargest; }),
      Code::bad_input, "{} {}: expected numbers from {} to {}", name, to_string(list), least,
      kLargest - 1);
  return list;
}
}  // namespace

std::vector<FixedWindowAxis> fixed(const std::vector<WindowAxis>& axes) {
  std::vector<FixedWindowAxis> out;
  for (const WindowAxis& a : axes)
    out.push_back({a.stride, a.dilation, a.kernel.constant(), a.pad_begin.constant(),
                   a.pad_end.constant(), a.out.constant()});
  return out;
}

std::string auto_pad_of(const InferContext& ctx) {
  std::string mode = ctx.attrs.text("auto_pad", "NOTSET");
  require(mode == "NOTSET" || mode == "SAME_UPPER" || mode == "SAME_LOWER" || mode == "VALID",
          Code::bad_input, "auto_pad '{}': expected NOTSET, SAME_UPPER, SAME_LOWER or VALID",
          printable(mode));
  return mode;
}

std::vector<int64_t> kernel_shape_of(const InferContext& ctx, size_t spatial) {
  const auto kernel = ctx.attrs.integers("kernel_shape");
  require(kernel.size() == spatial, Code::bad_input, "kernel_shape {} for {} spatial axes",
          to_string(kernel), spatial);
  return list_attribute(ctx, "kernel_shape", spatial, 1, 1);
}

std::vector<WindowAxis> window_attributes(const InferContext& ctx, const Shape& kernel) {
  const size_t n = kernel.size();
  const auto strides = list_attribute(ctx, "strides", n, 1, 1),
             dilations = list_attribute(ctx, "dilations", n, 1, 1);
  const auto pads = list_attribute(ctx, "pads", 2 * n, 0, 0);
  const bool explicit_pads = auto_pad_of(ctx) == "NOTSET";
  std::vector<WindowAxis> out(n);
  for (size_t i = 0; i < n; ++i) {
    out[i].stride = strides[i];
    out[i].dilation = dilations[i];
    out[i].kernel = kernel[i];
    if (!explicit_pads) continue;
    out[i].pad_begin = pads[i];
    out[i].pad_end = pads[n + i];
  }
  return out;
}

std::vector<WindowAxis> windows_of(InferContext& ctx, const Shape& in, const Shape& kernel) {
  const std::string mode = auto_pad_of(ctx);
  const bool ceil_mode = ctx.attrs.integer("ceil_mode", 0) != 0;
  auto axes = window_attributes(ctx, kernel);
  for (size_t i = 0; i < axes.size(); ++i) {
    WindowAxis& a = axes[i];
    if (mode == "SAME_UPPER" || mode == "SAME_LOWER") {
      a.out = ceildiv(in[i], a.stride);
      const Expr total = clamp_to_zero(ctx, (a.out - 1) * Expr(a.stride) + a.span() - in[i]);
      const Expr half = floordiv(total, 2);
      a.pad_begin = mode == "SAME_UPPER" ? half : total - half;
      a.pad_end = total - a.pad_begin;
      continue;
    }
    const Expr slack = in[i] + a.pad_begin + a.pad_end - a.span();
    require(slack.bounds(ctx.ranges).high >= 0, Code::bad_input,
            "the window spans {} elements but spatial axis {} has {} with its padding",
            a.span().str(), i, (in[i] + a.pad_begin + a.pad_end).str());
    a.out = floordiv(slack, a.stride) + 1;
    if (ceil_mode && a.stride > 1) {
      // One more position for a rest, unless it would start behind the input in the padding. (With
      // stride 1 there is no rest.)
      const Expr with_rest = ceildiv(slack, a.stride) + 1;
      a.out = min(with_rest, ceildiv(in[i] + a.pad_begin, a.stride));
    }
  }
  return axes;
}

Shape spatial_of(const ValueInfo& in, const char* what) {
  require(in.rank() >= 3, Code::bad_input, "{} has shape {}, expected [N, C, spatial...]", what,
          to_string(in.shape));
  return Shape(in.shape.begin() + 2, in.shape.end());
}

std::vector<FixedWindowAxis> as_three(std::vector<FixedWindowAxis> axes) {
  require(axes.size() <= 3, Code::unsupported, "{} spatial axes; up to 3 are supported",
          axes.size());
  axes.insert(axes.begin(), 3 - axes.size(), {1, 1, 1, 0, 0, 1});
  return axes;
}
Dims as_three(const Dims& spatial) {
  Dims out(3 - spatial.size(), 1);
  out.insert(out.end(), spatial.begin(), spatial.end());
  return out;
}

}  // namespace vitrail
