// SPDX-License-Identifier: Apache-2.0
// ONNX Softmax and LogSoftmax along one axis: exp(x - max) / sum, in float64, rounded once.
#include <cmath>

#include "ops/axes.h"
#include "ops/elementwise.h"

namespace vitrail {
namespace {
void infer(InferContext& ctx) {
  infer_float(ctx);
  normalize_axis(ctx.attrs.integer("axis", -1), ctx.in(0).rank(), "axis");
}

template <typename Finish>
void along_axis(RunContext& ctx, const char* op, Finish finish) {
  const Tensor& x = ctx.in(0);
  const AxisSplit split =
      split_at(x.dims(), normalize_axis(ctx.attrs.integer("axis", -1), x.rank(), "axis"));
  with_float_type(x.dtype(), op, [&](auto tag) {
    using T = decltype(tag);
    ctx.out() = Tensor(x.dtype(), x.dims());
    for (int64_t o = 0; o < split.outer; ++o)
      for (int64_t i = 0; i < split.inner; ++i) {
        const T* from = x.data<T>() + o * split.extent * split.inner + i;
        T* to = ctx.out().template mutable_data<T>() + o * split.extent * split.inner + i;
        double largest = -INFINITY, sum = 0;
        for (int64_t a = 0; a < split.extent; ++a)
          largest = std::fmax(largest, from[a * split.inner]);
        for (int64_t a = 0; a < split.extent; ++a) sum += std::exp(from[a * split.inner] - largest);
        for (int64_t a = 0; a < split.extent; ++a)
          to[a * split.inner] = static_cast<T>(finish(from[a * split.inner] - largest, sum));
      }
  });
}
void softmax(RunContext& ctx) {
  along_axis(ctx, "Softmax", [](double shifted, double sum) { return std::exp(shifted) / sum; });
}
void log_softmax(RunContext& ctx) {
  along_axis(ctx, "LogSoftmax", [](double shifted, double sum) { return shifted - std::log(sum); });
}

std::vector<Sample> samples() {
  return {
      {.inputs = {{.dims = {2, 3, 7}, .low = -4, .high = 4}}},
      {.inputs = {{.dims = {2, 3, 7}, .low = -4, .high = 4}}, .attrs = {{"axis", int64_t{1}}}},
      {.inputs = {{.dims = {4, 5}, .low = -2000, .high = 2000}}, .attrs = {{"axis", int64_t{-2}}}}};
}
const std::vector<AttrSpec> kAttrs = {{"axis", AttrKind::integer}};
}  // namespace
extern const OpDef log_softmax_op =
    unary_op("LogSoftmax", 13, log_softmax, samples, {.reduction = true}, kAttrs, infer);
extern const OpDef softmax_op =
    unary_op("Softmax", 13, softmax, samples, {.reduction = true}, kAttrs, infer);
}  // namespace vitrail
