// SPDX-License-Identifier: Apache-2.0
// ONNX Conv-11: convolution (as a cross-correlation) over one to three spatial axes.
#include "ops/conv.h"

#include "ops/elementwise.h"
#include "ops/fast_reference.h"

namespace vitrail {

Shape kernel_of(InferContext& ctx, size_t w) {
  const ValueInfo &x = ctx.in(0), &weight = ctx.in(w);
  const Shape in = spatial_of(x, "the input");
  Shape kernel = spatial_of(weight, "the weight");
  require(in.size() == kernel.size(), Code::bad_input,
          "input {} and weight {} have different ranks", to_string(x.shape),
          to_string(weight.shape));
  require(in.size() <= 3, Code::unsupported, "{} spatial axes; up to 3 are supported", in.size());
  if (ctx.attrs.has("kernel_shape")) {
    const auto declared = kernel_shape_of(ctx, kernel.size());
    for (size_t i = 0; i < kernel.size(); ++i)
      unify(ctx, kernel[i], declared[i], "extent of the weight and kernel_shape");
  }
  for (const Expr& k : kernel)
    require(k.bounds(ctx.ranges).high >= 1, Code::bad_input, "the weight {} has an empty kernel",
            to_string(weight.shape));
  return kernel;
}

int64_t groups_of(const InferContext& ctx, const Expr& channels, const char* what) {
  const int64_t group = ctx.attrs.integer("group", 1);
  require(group >= 1, Code::bad_input, "group is {}, expected at least 1", group);
  if (channels.is_constant())
    require(channels.constant() % group == 0, Code::bad_input, "{} {} do not divide into {} groups",
            channels.constant(), what, group);
  return group;
}

void check_bias(InferContext& ctx, const Expr& channels) {
  if (!ctx.has(2)) return;
  require_type_of_first(ctx, 2);
  require(ctx.in(2).rank() == 1, Code::bad_input, "the bias has shape {}, expected a list",
          to_string(ctx.in(2).shape));
  unify(ctx, ctx.in(2).shape[0], channels, "length of the bias and number of output channels");
}

std::vector<WindowAxis> infer_conv(InferContext& ctx, size_t w) {
  const ValueInfo &x = ctx.in(0), &weight = ctx.in(w);
  const Shape kernel = kernel_of(ctx, w), in = spatial_of(x, "the input");
  const int64_t group = groups_of(ctx, weight.shape[0], "output channels");
  unify(ctx, x.shape[1], weight.shape[1] * Expr(group),
        "channels of the input and of the weight times group");
  auto axes = windows_of(ctx, in, kernel);
  ctx.out().shape = {x.shape[0], weight.shape[0]};
  for (const WindowAxis& a : axes) ctx.out().shape.push_back(a.out);
  return axes;
}

ConvShape conv_shape(const RunContext& ctx, size_t w) {
  ConvShape s;
  const auto outputs = apply_rule(
      ctx, [&](InferContext& rule) { s.windows = as_three(fixed(infer_conv(rule, w))); });
  const Dims &x = ctx.in(0).dims(), &weight = ctx.in(w).dims();
  s.batch = x[0];
  s.groups = ctx.attrs.integer("group", 1);
  s.in_channels = weight[1];
  s.out_channels = weight[0] / s.groups;
  s.in = as_three(Dims(x.begin() + 2, x.end()));
  s.out_dims = to_dims(outputs[0].shape);
  return s;
}

namespace {
void infer(InferContext& ctx) {
  require_float(ctx);
  require_type_of_first(ctx, 1);
  infer_conv(ctx);
  ctx.out().dtype = ctx.in(0).dtype;
  check_bias(ctx, ctx.in(1).shape[0]);
}
void reference(RunContext& ctx) {
  const ConvShape s = conv_shape(ctx);
  apply_rule(ctx, infer);
  with_float_type(ctx.in(0).dtype(), "Conv", [&](auto tag) {
    using T = decltype(tag);
    ctx.out() = Tensor(ctx.in(0).dtype(), s.out_dims);
    const T *x = ctx.in(0).data<T>(), *w = ctx.in(1).data<T>(),
            *bias = ctx.has(2) ? ctx.in(2).data<T>() : nullptr;
    T* out = ctx.out().mutable_data<T>();
    if (fast::worthwhile(s))
      fast::conv(s, x, w, bias, out);
    else
      plain_conv(s, x, w, bias, out);
  });
}
std::vector<Sample> samples() {
  using Ints = std::vector<int64_t>;
  return {{.inputs = {{.dims = {2, 3, 7, 9}}, {.dims = {5, 3, 3, 3}}, {.dims = {5}}},
           .attrs = {{"pads", Ints{1, 1, 1, 1}}, {"kernel_shape", Ints{3, 3}}}},
          {.inputs = {{.dims = {1, 4, 9, 8}}, {.dims = {6, 2, 3, 2}}},
           .attrs = {{"group", int64_t{2}},
                     {"strides", Ints{2, 1}},
                     {"dilations", Ints{1, 3}},
                     {"pads", Ints{0, 2, 1, 0}}}},
          {.inputs = {{.dims = {2, 5, 8, 8}}, {.dims = {5, 1, 3, 3}}, {.dims = {5}}},
           .attrs = {{"group", int64_t{5}}, {"strides", Ints{2, 2}}, {"auto_pad", "SAME_UPPER"}}},
          {.inputs = {{.dims = {1, 2, 6, 6}}, {.dims = {3, 2, 2, 2}}},
           .attrs = {{"auto_pad", "SAME_LOWER"}}},
          {.inputs = {{.dims = {1, 2, 6, 6}}, {.dims = {3, 2, 2, 3}}},
           .attrs = {{"auto_pad", "VALID"}}},
          {.inputs = {{.dims = {2, 3, 11}}, {.dims = {4, 3, 5}}}, .attrs = {{"pads", Ints{2, 1}}}},
          {.inputs = {{.dims = {1, 2, 4, 5, 3}}, {.dims = {3, 2, 2, 3, 1}}}}};
}
}  // namespace
extern const OpDef conv_op{.name = "Conv",
                           .domain = "",
                           .version = 11,
                           .attrs = {{"auto_pad", AttrKind::text},
                                     {"dilations", AttrKind::integers},
                                     {"group", AttrKind::integer},
                                     {"kernel_shape", AttrKind::integers},
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
