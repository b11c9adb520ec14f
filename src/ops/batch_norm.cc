// SPDX-License-Identifier: Apache-2.0
// ONNX BatchNormalization as it is in inference: (x - mean) / sqrt(var + epsilon) * scale + bias,
// each of them per channel (axis 1).
#include <cmath>

#include "ops/axes.h"
#include "ops/elementwise.h"

namespace vitrail {
namespace {
void infer(InferContext& ctx) {
  require(ctx.attrs.integer("training_mode", 0) == 0, Code::unsupported,
          "training mode (attribute 'training_mode' must be 0)");
  infer_float(ctx);
  const ValueInfo& x = ctx.in(0);
  require(x.rank() >= 1, Code::bad_input, "input 0 is a scalar, extents [N,C,...] are needed");
  // ONNX takes [N] as one channel.
  const Expr channels = x.rank() == 1 ? Expr(1) : x.shape[1];
  const char* const names[] = {"", "scale", "bias", "mean", "variance"};
  for (size_t i = 1; i <= 4; ++i) {
    require_float(ctx, i);
    require_vector(ctx, i, channels, names[i]);
  }
}
void reference(RunContext& ctx) {
  const Tensor& x = ctx.in(0);
  const double epsilon = ctx.attrs.number("epsilon", 1e-5f);
  const AxisSplit split = x.rank() == 1 ? AxisSplit{x.size(), 1, 1} : split_at(x.dims(), 1);
  with_float_type(x.dtype(), "BatchNormalization", [&](auto tag) {
    using T = decltype(tag);
    ctx.out() = Tensor(x.dtype(), x.dims());
    const T* from = x.data<T>();
    T* to = ctx.out().mutable_data<T>();
    for (int64_t o = 0; o < split.outer; ++o)
      for (int64_t c = 0; c < split.extent; ++c) {
        const double factor = ctx.in(1).number_at(c) / std::sqrt(ctx.in(4).number_at(c) + epsilon);
        const double bias = ctx.in(2).number_at(c), mean = ctx.in(3).number_at(c);
        for (int64_t i = 0; i < split.inner; ++i)
          *to++ = static_cast<T>((*from++ - mean) * factor + bias);
      }
  });
}
std::vector<Sample> samples() {
  const SampleInput c{.dims = {3}}, var{.dims = {3}, .low = 0.1, .high = 2};
  return {{.inputs = {{.dims = {2, 3, 4, 5}}, c, c, c, var}},
          {.inputs = {{.dims = {2, 3}}, c, c, c, var},
           .attrs = {{"epsilon", 0.125}, {"momentum", 0.5}, {"training_mode", int64_t{0}}}}};
}
}  // namespace
extern const OpDef batch_normalization_op{.name = "BatchNormalization",
                                          .domain = "",
                                          .version = 9,
                                          .attrs = {{"epsilon", AttrKind::number},
                                                    {"momentum", AttrKind::number},
                                                    {"training_mode", AttrKind::integer}},
                                          .min_inputs = 5,
                                          .max_inputs = 5,
                                          .min_outputs = 1,
                                          .max_outputs = 1,
                                          .traits = {},
                                          .infer = infer,
                                          .reference = reference,
                                          .samples = samples};
}  // namespace vitrail
