// SPDX-License-Identifier: Apache-2.0
// ONNX Max, Min, Sum and Mean of any number of inputs, with numpy's broadcasting.
#include <cmath>

#include "ops/elementwise.h"

namespace vitrail {
namespace {
void infer_all(InferContext& ctx, Combine combine) {
  ValueInfo sum = ctx.in(0);
  sum.content = sum.ints();
  sum.constant = nullptr;
  for (size_t i = 1; i < ctx.inputs.size(); ++i) {
    require_same_type(ctx, i);
    const ValueInfo& next = ctx.in(i);
    if (combine) sum.content = combine_contents(sum, next, combine, ctx.ranges);
    sum.shape = ctx.broadcast(sum.shape, next.shape);
  }
  ctx.out().dtype = sum.dtype;
  ctx.out().shape = std::move(sum.shape);
  if (combine) set_content(ctx.out(), std::move(sum.content));
}
void infer_max(InferContext& ctx) {
  require_numeric(ctx);
  infer_all(ctx, [](const Expr& a, const Expr& b, const Ranges&) -> std::optional<Expr> {
    return max(a, b);
  });
}
void infer_min(InferContext& ctx) {
  require_numeric(ctx);
  infer_all(ctx, [](const Expr& a, const Expr& b, const Ranges&) -> std::optional<Expr> {
    return min(a, b);
  });
}
void infer_float_only(InferContext& ctx) {
  require_float(ctx);
  infer_all(ctx, nullptr);
}

template <typename F>
void fold(RunContext& ctx, const char* op, F f) {
  Tensor result = ctx.in(0);
  for (size_t i = 1; i < ctx.inputs.size(); ++i)
    result = broadcast_tensors(result, ctx.in(i), op, f);
  ctx.out() = std::move(result);
}
// NaN in any operand gives NaN, as in numpy.
template <typename T>
bool is_nan(T x) {
  return x != x;
}
void max(RunContext& ctx) {
  fold(ctx, "Max", [](auto a, auto b) { return is_nan(a) || a > b ? a : b; });
}
void min(RunContext& ctx) {
  fold(ctx, "Min", [](auto a, auto b) { return is_nan(a) || a < b ? a : b; });
}

Tensor sum_in_double(RunContext& ctx) {
  Tensor total = ctx.in(0).cast(DType::f64);
  for (size_t i = 1; i < ctx.inputs.size(); ++i)
    total = broadcast_tensors(total, ctx.in(i).cast(DType::f64), "Sum",
                              [](auto a, auto b) { return a + b; });
  return total;
}
void sum(RunContext& ctx) { ctx.out() = sum_in_double(ctx).cast(ctx.in(0).dtype()); }
void mean(RunContext& ctx) {
  const auto count = Tensor::scalar(static_cast<double>(ctx.inputs.size()));
  ctx.out() = broadcast_tensors(sum_in_double(ctx), count, "Mean", [](auto a, auto b) {
                return a / b;
              }).cast(ctx.in(0).dtype());
}

std::vector<Sample> float_samples() {
  return {{.inputs = {{.dims = {2, 3, 5}}}},
          {.inputs = {{.dims = {2, 3, 5}}, {.dims = {3, 1}}}},
          {.inputs = {{.dims = {4, 1}}, {.dims = {5}}, {.dims = {}}}}};
}
std::vector<Sample> samples() {
  auto cases = float_samples();
  cases.push_back({.inputs = {{.dtype = DType::i64, .dims = {7}, .low = -9, .high = 9},
                              {.dtype = DType::i64, .dims = {}, .low = -9, .high = 9}}});
  return cases;
}
OpDef variadic(const char* name, void (*infer)(InferContext&), void (*reference)(RunContext&),
               std::vector<Sample> (*cases)(), Traits traits) {
  return {.name = name,
          .domain = "",
          .version = 8,
          .attrs = {},
          .min_inputs = 1,
          .max_inputs = kMany,
          .min_outputs = 1,
          .max_outputs = 1,
          .traits = traits,
          .infer = infer,
          .reference = reference,
          .samples = cases};
}
}  // namespace
// The instruction of Max and Min takes two operands; a node of another arity is a chain of them.
extern const OpDef max_op =
    variadic("Max", infer_max, max, samples, {.elementwise = true, .pointwise = Pointwise::max});
extern const OpDef mean_op =
    variadic("Mean", infer_float_only, mean, float_samples, {.elementwise = true});
extern const OpDef min_op =
    variadic("Min", infer_min, min, samples, {.elementwise = true, .pointwise = Pointwise::min});
extern const OpDef sum_op =
    variadic("Sum", infer_float_only, sum, float_samples, {.elementwise = true});
}  // namespace vitrail
