// SPDX-License-Identifier: Apache-2.0
// ONNX's mathematical functions of one operand. Those that are instructions of a pointwise program
// mean what evaluate() says, rounded once to the type.
#include <cmath>

#include "ops/elementwise.h"

namespace vitrail {
namespace {
template <Pointwise P>
void function(RunContext& ctx) {
  map_float(ctx, name_of(P), [](auto x) { return evaluate(P, x, 0, 0); });
}
// Functions that are no instruction: computed in float64, rounded once.
template <double (*F)(double)>
void library_function(RunContext& ctx) {
  map_float(ctx, "function", [](double x) { return F(x); });
}
void abs(RunContext& ctx) {
  map_any(ctx, "Abs", [](auto x) {
    if constexpr (std::is_floating_point_v<decltype(x)>)
      return std::fabs(x);
    else
      return x < decltype(x){0} ? 0 - static_cast<uint64_t>(x) : static_cast<uint64_t>(x);
  });
}
void neg(RunContext& ctx) {
  map_any(ctx, "Neg", [](auto x) {
    if constexpr (std::is_floating_point_v<decltype(x)>)
      return -x;
    else
      return 0 - static_cast<uint64_t>(x);
  });
}
void sign(RunContext& ctx) {
  map_any(ctx, "Sign", [](auto x) {
    using T = decltype(x);
    return static_cast<T>(x > T{0} ? 1 : x < T{0} ? -1 : 0);
  });
}

void infer_abs(InferContext& ctx) {
  infer_numeric(ctx);
  set_content(ctx.out(), map_content(
                             ctx.in(0),
                             [](const Expr& x, const Ranges& ranges) -> std::optional<Expr> {
                               const Interval range = x.bounds(ranges);
                               return range.low >= 0 ? x : range.high <= 0 ? -x : max(x, -x);
                             },
                             ctx.ranges));
}
void infer_neg(InferContext& ctx) {
  infer_numeric(ctx);
  require(!is_unsigned_integer(ctx.in(0).dtype), Code::bad_input,
          "input 0 is {}, a signed type is needed", name_of(ctx.in(0).dtype));
  set_content(ctx.out(),
              map_content(
                  ctx.in(0), [](const Expr& x, const Ranges&) -> std::optional<Expr> { return -x; },
                  ctx.ranges));
}
void infer_sign(InferContext& ctx) {
  infer_numeric(ctx);
  set_content(ctx.out(), map_content(
                             ctx.in(0),
                             [](const Expr& x, const Ranges& ranges) -> std::optional<Expr> {
                               const Interval range = x.bounds(ranges);
                               if (range.low > 0) return Expr(1);
                               if (range.high < 0) return Expr(-1);
                               if (x.is(0)) return x;
                               return {};
                             },
                             ctx.ranges));
}
// Contents are whole numbers, which rounding leaves alone.
void infer_rounding(InferContext& ctx) {
  infer_float(ctx);
  ctx.out().content = ctx.in(0).ints();
}

std::vector<Sample> samples() { return {{.inputs = {{.dims = {3, 17}, .low = -3, .high = 3}}}}; }
std::vector<Sample> positive() { return {{.inputs = {{.dims = {3, 17}, .low = 0.1, .high = 4}}}}; }
std::vector<Sample> within_one() {
  return {{.inputs = {{.dims = {3, 17}, .low = -0.9, .high = 0.9}}}};
}
std::vector<Sample> above_one() { return {{.inputs = {{.dims = {3, 17}, .low = 1.1, .high = 4}}}}; }
std::vector<Sample> signed_samples() {
  return {{.inputs = {{.dims = {3, 17}}}},
          {.inputs = {{.dtype = DType::i32, .dims = {9}, .low = -5, .high = 5}}}};
}
constexpr Traits traits(Pointwise p) { return {.elementwise = true, .pointwise = p}; }
constexpr Traits steps(Pointwise p) {
  return {.elementwise = true, .pointwise = p, .discontinuous = true};
}

template <Pointwise P>
OpDef smooth(const char* name, int version, std::vector<Sample> (*cases)() = samples) {
  return unary_op(name, version, function<P>, cases, traits(P));
}
template <double (*F)(double)>
OpDef library(const char* name, int version, std::vector<Sample> (*cases)()) {
  return unary_op(name, version, library_function<F>, cases);
}
template <Pointwise P>
OpDef rounding(const char* name, int version) {
  return unary_op(name, version, function<P>, samples, steps(P), {}, infer_rounding);
}
}  // namespace
extern const OpDef abs_op =
    unary_op("Abs", 6, abs, signed_samples, traits(Pointwise::abs), {}, infer_abs);
extern const OpDef acos_op = library<std::acos>("Acos", 7, within_one);
extern const OpDef acosh_op = library<std::acosh>("Acosh", 9, above_one);
extern const OpDef asin_op = library<std::asin>("Asin", 7, within_one);
extern const OpDef asinh_op = library<std::asinh>("Asinh", 9, samples);
extern const OpDef atan_op = library<std::atan>("Atan", 7, samples);
extern const OpDef atanh_op = library<std::atanh>("Atanh", 9, within_one);
extern const OpDef ceil_op = rounding<Pointwise::ceil>("Ceil", 6);
extern const OpDef cos_op = smooth<Pointwise::cos>("Cos", 7);
extern const OpDef cosh_op = library<std::cosh>("Cosh", 9, samples);
extern const OpDef erf_op = smooth<Pointwise::erf>("Erf", 9);
extern const OpDef exp_op = smooth<Pointwise::exp>("Exp", 6);
extern const OpDef floor_op = rounding<Pointwise::floor>("Floor", 6);
extern const OpDef log_op = smooth<Pointwise::log>("Log", 6, positive);
extern const OpDef neg_op =
    unary_op("Neg", 6, neg, signed_samples, traits(Pointwise::neg), {}, infer_neg);
extern const OpDef reciprocal_op = smooth<Pointwise::reciprocal>("Reciprocal", 6, positive);
extern const OpDef round_op = rounding<Pointwise::round>("Round", 11);
extern const OpDef sign_op = unary_op("Sign", 9, sign, signed_samples,
                                      {.elementwise = true, .discontinuous = true}, {}, infer_sign);
extern const OpDef sin_op = smooth<Pointwise::sin>("Sin", 7);
extern const OpDef sinh_op = library<std::sinh>("Sinh", 9, samples);
extern const OpDef sqrt_op = smooth<Pointwise::sqrt>("Sqrt", 6, positive);
extern const OpDef tan_op = library<std::tan>("Tan", 7, within_one);
extern const OpDef tanh_op = smooth<Pointwise::tanh>("Tanh", 6);
}  // namespace vitrail
