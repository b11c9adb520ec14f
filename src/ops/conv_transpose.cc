// SPDX-License-Identifier: Apache-2.0
// ONNX ConvTranspose-11: the transpose of a convolution; each input element adds its weights,
// scaled, to a window of the output.
#include "ops/conv.h"
#include "ops/elementwise.h"
#include "ops/fast_reference.h"

namespace vitrail {
namespace {
// The windows are those of the convolution from the output back to the input; `extents` gets the
// spatial extents of the output.
std::vector<WindowAxis> infer_windows(InferContext& ctx, Shape& extents) {
  const ValueInfo& x = ctx.in(0);
  const Shape in = spatial_of(x, "the input"), kernel = kernel_of(ctx, 1);
  const size_t n = in.size();
  const auto extra = ctx.attrs.integers("output_padding", std::vector<int64_t>(n, 0));
  require(extra.size() == n, Code::bad_input, "output_padding {}: expected {} numbers",
          to_string(extra), n);
  const auto wanted = ctx.attrs.integers("output_shape", std::vector<int64_t>{});
  require(wanted.empty() || wanted.size() == n, Code::bad_input,
          "output_shape {}: expected {} numbers", to_string(wanted), n);
  const std::string mode = auto_pad_of(ctx);
  auto axes = window_attributes(ctx, kernel);
  for (size_t i = 0; i < n; ++i) {
    WindowAxis& a = axes[i];
    // A rest of a full stride or more would be elements that no input reaches.
    require(0 <= extra[i] && (extra[i] < a.stride || extra[i] < a.dilation), Code::bad_input,
            "output_padding {} with stride {} and dilation {}: expected 0 to less than one of them",
            extra[i], a.stride, a.dilation);
    const Expr full = (in[i] - 1) * Expr(a.stride) + extra[i] + a.span();
    const bool same = mode == "SAME_UPPER" || mode == "SAME_LOWER";
    Expr out = full - a.pad_begin - a.pad_end;
    if (!wanted.empty() || same) {
      require(wanted.empty() || wanted[i] >= 0, Code::bad_input, "output_shape {} is negative",
              to_string(wanted));
      out = wanted.empty() ? in[i] * Expr(a.stride) : Expr(wanted[i]);
      // Pads make up the difference; where the full output is too short, it ends in zeros.
      const Expr total = clamp_to_zero(ctx, full - out), half = floordiv(total, 2);
      a.pad_begin = mode == "SAME_UPPER" ? half : total - half;
      a.pad_end = total - a.pad_begin;
    }
    require_extent(ctx, out, "an extent of the output");
    a.out = in[i];
    extents.push_back(out);
  }
  return axes;
}
void infer(InferContext& ctx) {
  require_float(ctx);
  require_type_of_first(ctx, 1);
  const ValueInfo &x = ctx.in(0), &weight = ctx.in(1);
  Shape extents;
  infer_windows(ctx, extents);
  const int64_t group = groups_of(ctx, x.shape[1], "channels");
  unify(ctx, x.shape[1], weight.shape[0], "channels of the input and of the weight");
  const Expr channels = weight.shape[1] * Expr(group);
  ctx.out().dtype = x.dtype;
  ctx.out().shape = {x.shape[0], channels};
  ctx.out().shape.insert(ctx.out().shape.end(), extents.begin(), extents.end());
  check_bias(ctx, channels);
}

void reference(RunContext& ctx) {
  const Dims out_dims = dims_by_rule(ctx, infer);
  // Seen as the convolution that it transposes: its input is our output and the reverse, and the
  // weight [C, M/group, ...] is that convolution's [out, in/group, ...] as it is.
  ConvShape s;
  apply_rule(ctx, [&](InferContext& rule) {
    Shape extents;
    s.windows = as_three(fixed(infer_windows(rule, extents)));
    s.in = as_three(to_dims(extents));
  });
  s.batch = ctx.in(0).dims()[0];
  s.groups = ctx.attrs.integer("group", 1);
  s.in_channels = ctx.in(1).dims()[1];
  s.out_channels = ctx.in(1).dims()[0] / s.groups;
  with_float_type(ctx.in(0).dtype(), "ConvTranspose", [&](auto tag) {
    using T = decltype(tag);
    ctx.out() = Tensor(ctx.in(0).dtype(), out_dims);
    const T *x = ctx.in(0).data<T>(), *w = ctx.in(1).data<T>(),
            *bias = ctx.has(2) ? ctx.in(2).data<T>() : nullptr;
    std::vector<double> sums(static_cast<size_t>(ctx.out().size()), 0.0);
    const auto plane = static_cast<size_t>(s.in_size()),
               channels = static_cast<size_t>(out_dims[1]);
    for (size_t i = 0; bias && i < sums.size(); ++i)
      sums[i] = static_cast<double>(bias[i / plane % channels]);
    if (fast::worthwhile(s))
      fast::conv_transpose(s, x, w, sums.data());
    else
      plain_conv_transpose(s, x, w, sums.data());
    T* out = ctx.out().mutable_data<T>();
    for (size_t i = 0; i < sums.size(); ++i) out[i] = static_cast<T>(sums[i]);
  });
}
std::vector<Sample> samples() {
  using Ints = std::vector<int64_t>;
  return {{.inputs = {{.dims = {2, 3, 4, 5}}, {.dims = {3, 4, 2, 2}}, {.dims = {4}}},
           .attrs = {{"strides", Ints{2, 2}}, {"kernel_shape", Ints{2, 2}}}},
          {.inputs = {{.dims = {1, 4, 5, 3}}, {.dims = {4, 3, 3, 3}}},
           .attrs = {{"group", int64_t{2}},
                     {"strides", Ints{3, 2}},
                     {"pads", Ints{1, 0, 2, 1}},
                     {"output_padding", Ints{2, 1}},
                     {"dilations", Ints{2, 1}}}},
          {.inputs = {{.dims = {1, 2, 4, 4}}, {.dims = {2, 3, 3, 3}}},
           .attrs = {{"strides", Ints{2, 2}}, {"output_shape", Ints{8, 9}}}},
          {.inputs = {{.dims = {1, 2, 4, 4}}, {.dims = {2, 3, 3, 3}}},
           .attrs = {{"strides", Ints{2, 2}}, {"auto_pad", "SAME_UPPER"}}},
          {.inputs = {{.dims = {2, 3, 7}}, {.dims = {3, 2, 4}}}, .attrs = {{"strides", Ints{3}}}}};
}
}  // namespace
extern const OpDef conv_transpose_op{.name = "ConvTranspose",
                                     .domain = "",
                                     .version = 11,
                                     .attrs = {{"auto_pad", AttrKind::text},
                                               {"dilations", AttrKind::integers},
                                               {"group", AttrKind::integer},
                                               {"kernel_shape", AttrKind::integers},
                                               {"output_padding", AttrKind::integers},
                                               {"output_shape", AttrKind::integers},
                                               {"pads", AttrKind::integers},
                                               {"strides", AttrKind::integers}},
                                     .min_inputs = 2,
                                     .max_inputs = 3,
                                     .min_outputs = 1,
                                     .max_outputs = 1,
                                     .traits = {.reduction = true},
                                     .infer = infer,
                                     .reference = reference,
                                     .samples = samples};
}  // namespace vitrail
