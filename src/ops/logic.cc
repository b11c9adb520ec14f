// SPDX-License-Identifier: Apache-2.0
// ONNX Not, And, Or, Xor on booleans, IsNaN and IsInf on floats.
#include <cmath>

#include "ops/elementwise.h"

namespace vitrail {
namespace {
void require_boolean(InferContext& ctx) {
  require(ctx.in(0).dtype == DType::boolean, Code::bad_input, "input 0 is {}, bool is needed",
          name_of(ctx.in(0).dtype));
}
// Contents are 0 or 1.
std::optional<Expr> and_content(const Expr& a, const Expr& b, const Ranges&) { return a * b; }
std::optional<Expr> or_content(const Expr& a, const Expr& b, const Ranges&) { return max(a, b); }
std::optional<Expr> xor_content(const Expr& a, const Expr& b, const Ranges&) {
  return a + b - a * b * 2;
}
template <auto Content>
void infer(InferContext& ctx) {
  require_boolean(ctx);
  infer_broadcast(ctx, Content);
}
void infer_not(InferContext& ctx) {
  require_boolean(ctx);
  infer_same(ctx);
  ctx.out().content = map_content(
      ctx.in(0), [](const Expr& x, const Ranges&) -> std::optional<Expr> { return Expr(1) - x; },
      ctx.ranges);
}
void infer_test(InferContext& ctx) {
  infer_float(ctx);
  ctx.out().dtype = DType::boolean;
}

void logical_not(RunContext& ctx) {
  map_any(ctx, "Not", [](auto x) { return x == decltype(x){0}; });
}
void logical_and(RunContext& ctx) {
  map_broadcast(ctx, "And", [](auto a, auto b) { return a != 0 && b != 0; });
}
void logical_or(RunContext& ctx) {
  map_broadcast(ctx, "Or", [](auto a, auto b) { return a != 0 || b != 0; });
}
void logical_xor(RunContext& ctx) {
  map_broadcast(ctx, "Xor", [](auto a, auto b) { return (a != 0) != (b != 0); });
}
void is_nan(RunContext& ctx) {
  map_any<bool>(ctx, "IsNaN", [](auto x) { return x != x; });
}
void is_inf(RunContext& ctx) {
  const bool positive = ctx.attrs.integer("detect_positive", 1) != 0,
             negative = ctx.attrs.integer("detect_negative", 1) != 0;
  map_any<bool>(ctx, "IsInf", [&](auto x) {
    const auto wide = static_cast<double>(x);
    return std::isinf(wide) && (wide > 0 ? positive : negative);
  });
}

std::vector<Sample> not_samples() {
  return {{.inputs = {{.dtype = DType::boolean, .dims = {3, 5}}}},
          {.inputs = {{.dtype = DType::boolean, .dims = {}}}}};
}
std::vector<Sample> samples() {
  const SampleInput x{.dtype = DType::boolean, .dims = {2, 3, 5}};
  return {{.inputs = {x, x}}, {.inputs = {x, {.dtype = DType::boolean, .dims = {3, 1}}}}};
}
SampleInput special_values() {
  return {.dims = {5}, .fixed = Tensor::of<float>({5}, {0, INFINITY, -INFINITY, NAN, -3})};
}
std::vector<Sample> nan_samples() { return {{.inputs = {special_values()}}}; }
std::vector<Sample> inf_samples() {
  return {{.inputs = {special_values()}},
          {.inputs = {special_values()}, .attrs = {{"detect_positive", int64_t{0}}}},
          {.inputs = {special_values()}, .attrs = {{"detect_negative", int64_t{0}}}}};
}
constexpr Traits kTraits{.elementwise = true, .discontinuous = true};
}  // namespace
extern const OpDef and_op = binary_op("And", 7, infer<and_content>, logical_and, samples, kTraits);
extern const OpDef is_inf_op = unary_op(
    "IsInf", 10, is_inf, inf_samples, kTraits,
    {{"detect_negative", AttrKind::integer}, {"detect_positive", AttrKind::integer}}, infer_test);
extern const OpDef is_nan_op = unary_op("IsNaN", 9, is_nan, nan_samples, kTraits, {}, infer_test);
extern const OpDef not_op = unary_op("Not", 1, logical_not, not_samples, kTraits, {}, infer_not);
extern const OpDef or_op = binary_op("Or", 7, infer<or_content>, logical_or, samples, kTraits);
extern const OpDef xor_op = binary_op("Xor", 7, infer<xor_content>, logical_xor, samples, kTraits);
}  // namespace vitrail
