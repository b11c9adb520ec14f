// SPDX-License-Identifier: Apache-2.0
// ONNX CumSum and CumProd: running sums and products along an axis given as an input. Floats
// accumulate in float64.
#include "ops/axes.h"
#include "ops/elementwise.h"

namespace vitrail {
namespace {
void infer(InferContext& ctx) {
  infer_numeric(ctx);
  const ValueInfo& axis = ctx.in(1);
  require(axis.dtype == DType::i32 || axis.dtype == DType::i64, Code::bad_input,
          "the axis is {}, i32 or i64 is needed", name_of(axis.dtype));
  if (!axis.constant) return;
  require(axis.constant->size() == 1, Code::bad_input, "the axis has {} elements, one is needed",
          axis.constant->size());
  normalize_axis(axis.constant->int_at(0), ctx.in(0).rank(), "axis");
}
template <typename Step>
void accumulate(RunContext& ctx, const char* op, int start, Step step) {
  const Tensor& x = ctx.in(0);
  require(ctx.in(1).size() == 1, Code::bad_input, "{}: the axis has {} elements, one is needed", op,
          ctx.in(1).size());
  const AxisSplit split = split_at(x.dims(), normalize_axis(ctx.in(1).int_at(0), x.rank(), "axis"));
  const bool exclusive = ctx.attrs.integer("exclusive", 0) != 0,
             reverse = ctx.attrs.integer("reverse", 0) != 0;
  with_type(x.dtype(), op, [&](auto tag) {
    using T = decltype(tag);
    using Acc = std::conditional_t<std::is_floating_point_v<T>, double, uint64_t>;
    ctx.out() = Tensor(x.dtype(), x.dims());
    for (int64_t o = 0; o < split.outer; ++o)
      for (int64_t i = 0; i < split.inner; ++i) {
        const int64_t first = o * split.extent * split.inner + i;
        auto total = static_cast<Acc>(start);
        for (int64_t a = 0; a < split.extent; ++a) {
          const int64_t at = first + (reverse ? split.extent - 1 - a : a) * split.inner;
          const Acc next = step(total, static_cast<Acc>(x.data<T>()[at]));
          ctx.out().template mutable_data<T>()[at] = static_cast<T>(exclusive ? total : next);
          total = next;
        }
      }
  });
}
void cumsum(RunContext& ctx) {
  accumulate(ctx, "CumSum", 0, [](auto a, auto b) { return a + b; });
}
void cumprod(RunContext& ctx) {
  accumulate(ctx, "CumProd", 1, [](auto a, auto b) { return a * b; });
}
std::vector<Sample> samples() {
  const SampleInput x{.dims = {3, 4, 5}},
      axis{.dtype = DType::i64, .fixed = Tensor::scalar<int64_t>(1)};
  return {{.inputs = {x, axis}},
          {.inputs = {x, axis}, .attrs = {{"exclusive", int64_t{1}}}},
          {.inputs = {x, axis}, .attrs = {{"reverse", int64_t{1}}}},
          {.inputs = {{.dtype = DType::i32, .dims = {9}, .low = -9, .high = 9},
                      {.dtype = DType::i32, .fixed = Tensor::of<int32_t>({1}, {-1})}},
           .attrs = {{"exclusive", int64_t{1}}, {"reverse", int64_t{1}}}}};
}
OpDef running(const char* name, int version, void (*reference)(RunContext&)) {
  return binary_op(name, version, infer, reference, samples, {.reduction = true},
                   {{"exclusive", AttrKind::integer}, {"reverse", AttrKind::integer}});
}
}  // namespace
extern const OpDef cumprod_op = running("CumProd", 26, cumprod);
extern const OpDef cumsum_op = running("CumSum", 11, cumsum);
}  // namespace vitrail
