// SPDX-License-Identifier: Apache-2.0
// ONNX Equal, Less, LessOrEqual, Greater, GreaterOrEqual: elementwise with numpy's broadcasting;
// the result is boolean. Comparisons with NaN are false.
#include "ops/elementwise.h"

namespace vitrail {
namespace {
std::optional<Expr> known(bool yes, bool no) {
  if (yes) return Expr(1);
  if (no) return Expr(0);
  return {};
}
std::optional<Expr> equal_content(const Expr& a, const Expr& b, const Ranges& ranges) {
  const Interval gap = (a - b).bounds(ranges);
  return known(a == b, gap.low > 0 || gap.high < 0);
}
std::optional<Expr> less_content(const Expr& a, const Expr& b, const Ranges& ranges) {
  const Interval gap = (b - a).bounds(ranges);
  return known(gap.low > 0, gap.high <= 0);
}
std::optional<Expr> less_or_equal_content(const Expr& a, const Expr& b, const Ranges& ranges) {
  const Interval gap = (b - a).bounds(ranges);
  return known(gap.low >= 0, gap.high < 0);
}

template <auto Content>
void infer(InferContext& ctx) {
  infer_broadcast(ctx, Content);
  ctx.out().dtype = DType::boolean;
}
template <auto Content>
void infer_ordered(InferContext& ctx) {
  require_numeric(ctx);
  infer<Content>(ctx);
}

void equal(RunContext& ctx) {
  map_broadcast<bool>(ctx, "Equal", [](auto a, auto b) { return a == b; });
}
void less(RunContext& ctx) {
  map_broadcast<bool>(ctx, "Less", [](auto a, auto b) { return a < b; });
}
void less_or_equal(RunContext& ctx) {
  map_broadcast<bool>(ctx, "LessOrEqual", [](auto a, auto b) { return a <= b; });
}
void greater(RunContext& ctx) {
  map_broadcast<bool>(ctx, "Greater", [](auto a, auto b) { return a > b; });
}
void greater_or_equal(RunContext& ctx) {
  map_broadcast<bool>(ctx, "GreaterOrEqual", [](auto a, auto b) { return a >= b; });
}

std::vector<Sample> samples() {
  const SampleInput ints{.dtype = DType::i64, .dims = {7}, .low = 0, .high = 3};
  return {{.inputs = {{.dims = {2, 3, 5}}, {.dims = {2, 3, 5}}}},
          {.inputs = {{.dims = {2, 3, 5}}, {.dims = {3, 1}}}},
          {.inputs = {ints, ints}},
          {.inputs = {{.dtype = DType::i64, .dims = {2, 7}, .low = 0, .high = 3}, ints}}};
}
constexpr Traits kTraits{.elementwise = true, .discontinuous = true};
std::optional<Expr> greater_content(const Expr& a, const Expr& b, const Ranges& ranges) {
  return less_content(b, a, ranges);
}
std::optional<Expr> greater_or_equal_content(const Expr& a, const Expr& b, const Ranges& ranges) {
  return less_or_equal_content(b, a, ranges);
}
}  // namespace
extern const OpDef equal_op = binary_op("Equal", 7, infer<equal_content>, equal, samples, kTraits);
extern const OpDef greater_op =
    binary_op("Greater", 7, infer_ordered<greater_content>, greater, samples, kTraits);
extern const OpDef greater_or_equal_op =
    binary_op("GreaterOrEqual", 12, infer_ordered<greater_or_equal_content>, greater_or_equal,
              samples, kTraits);
extern const OpDef less_op =
    binary_op("Less", 7, infer_ordered<less_content>, less, samples, kTraits);
extern const OpDef less_or_equal_op = binary_op(
    "LessOrEqual", 12, infer_ordered<less_or_equal_content>, less_or_equal, samples, kTraits);
}  // namespace vitrail
