// SPDX-License-Identifier: Apache-2.0
// ONNX Add, Sub, Mul, Div, Mod and Pow, with numpy's broadcasting. Integers wrap;
// integer division rounds towards zero, and dividing by zero is an error.
#include <cmath>

#include "ops/elementwise.h"

namespace vitrail {
namespace {
void infer_add(InferContext& ctx) {
  require_numeric(ctx);
  infer_broadcast(ctx, [](const Expr& a, const Expr& b, const Ranges&) -> std::optional<Expr> {
    return a + b;
  });
}
void infer_sub(InferContext& ctx) {
  require_numeric(ctx);
  infer_broadcast(ctx, [](const Expr& a, const Expr& b, const Ranges&) -> std::optional<Expr> {
    return a - b;
  });
}
void infer_mul(InferContext& ctx) {
  require_numeric(ctx);
  infer_broadcast(ctx, [](const Expr& a, const Expr& b, const Ranges&) -> std::optional<Expr> {
    return a * b;
  });
}
void infer_div(InferContext& ctx) {
  require_numeric(ctx);
  if (is_integer(ctx.in(0).dtype)) return infer_broadcast(ctx, truncating_div);
  // A float quotient is a whole number only where nothing is left over.
  infer_broadcast(ctx, [](const Expr& a, const Expr& b, const Ranges&) -> std::optional<Expr> {
    Expr quotient;
    if (b.is(0) || !divides(b, a, &quotient)) return {};
    return quotient;
  });
}
void infer_mod(InferContext& ctx) {
  require_numeric(ctx);
  const bool c_remainder = ctx.attrs.integer("fmod", 0) != 0;
  if (c_remainder) {
    infer_broadcast(ctx,
                    [](const Expr& a, const Expr& b, const Ranges& ranges) -> std::optional<Expr> {
                      const auto quotient = truncating_div(a, b, ranges);
                      if (!quotient) return {};
                      return a - b * *quotient;
                    });
  } else {
    infer_broadcast(ctx, [](const Expr& a, const Expr& b, const Ranges&) -> std::optional<Expr> {
      return mod(a, b);
    });
  }
}
void infer_pow(InferContext& ctx) {
  require_numeric(ctx);
  require_numeric(ctx, 1);
  ctx.out().dtype = ctx.in(0).dtype;
  ctx.out().shape = ctx.broadcast(ctx.in(0).shape, ctx.in(1).shape);
}

void add(RunContext& ctx) {
  map_broadcast(ctx, "Add", [](auto a, auto b) {
    return wrapping(a, b, [](auto x, auto y) { return x + y; });
  });
}
void sub(RunContext& ctx) {
  map_broadcast(ctx, "Sub", [](auto a, auto b) {
    return wrapping(a, b, [](auto x, auto y) { return x - y; });
  });
}
void mul(RunContext& ctx) {
  map_broadcast(ctx, "Mul", [](auto a, auto b) {
    return wrapping(a, b, [](auto x, auto y) { return x * y; });
  });
}

template <typename T>
T divide(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    require(b != 0, Code::bad_input, "Div: integer division of {} by zero", a);
    // The least number has no positive counterpart; -1 is the one divisor that overflows.
    if (std::is_signed_v<T> && b == static_cast<T>(-1))
      return static_cast<T>(0 - static_cast<uint64_t>(a));
  }
  return static_cast<T>(a / b);
}
void div(RunContext& ctx) {
  map_broadcast(ctx, "Div", [](auto a, auto b) { return divide(a, b); });
}

// fmod = 0: the sign of the divisor (Python); fmod = 1: the sign of the dividend (C).
template <typename T>
T remainder(T a, T b, bool c_remainder) {
  if constexpr (std::is_integral_v<T>) {
    require(b != 0, Code::bad_input, "Mod: integer remainder of {} by zero", a);
    if (std::is_signed_v<T> && b == static_cast<T>(-1)) return 0;
    const T rest = static_cast<T>(a % b);
    const bool opposite = rest != T{0} && (rest < T{0}) != (b < T{0});
    return opposite && !c_remainder ? static_cast<T>(rest + b) : rest;
  } else {
    const T rest = std::fmod(a, b);
    if (c_remainder || std::isnan(rest)) return rest;
    if (rest == 0) return std::copysign(T{0}, b);
    return std::signbit(rest) != std::signbit(b) ? rest + b : rest;
  }
}
void mod(RunContext& ctx) {
  const bool c_remainder = ctx.attrs.integer("fmod", 0) != 0;
  map_broadcast(ctx, "Mod", [&](auto a, auto b) { return remainder(a, b, c_remainder); });
}

// Integer bases keep all their digits: squaring, wrapping like Mul.
template <typename T>
T power(T base, double exponent) {
  if constexpr (std::is_integral_v<T>) {
    const bool whole = exponent >= 0 && exponent < 4294967296.0 && exponent == std::floor(exponent);
    if (!whole) return to_element<T>(std::pow(static_cast<double>(base), exponent));
    uint64_t result = 1, square = static_cast<uint64_t>(base);
    for (auto n = static_cast<uint64_t>(exponent); n != 0; n >>= 1, square *= square)
      if (n & 1) result *= square;
    return static_cast<T>(result);
  } else {
    return static_cast<T>(std::pow(static_cast<double>(base), exponent));
  }
}
void pow(RunContext& ctx) {
  const Tensor &a = ctx.in(0), &b = ctx.in(1);
  const Tensor exponents = b.cast(DType::f64);
  const Dims dims = broadcast(a.dims(), b.dims());
  with_type(a.dtype(), "Pow", [&](auto tag) {
    using T = decltype(tag);
    ctx.out() = Tensor(a.dtype(), dims);
    T* to = ctx.out().mutable_data<T>();
    const T* bases = a.data<T>();
    const double* powers = exponents.data<double>();
    for (BroadcastRows row(dims, {a.dims(), b.dims()}); !row.done(); row.next())
      for (int64_t i = 0; i < row.length(); ++i)
        *to++ = power(bases[row.at(0) + i * row.step(0)], powers[row.at(1) + i * row.step(1)]);
  });
}

std::vector<Sample> samples() {
  return {{.inputs = {{.dims = {2, 3, 5}}, {.dims = {2, 3, 5}}}},
          {.inputs = {{.dims = {2, 3, 5}}, {.dims = {3, 1}}}},
          {.inputs = {{.dims = {4, 1, 3}}, {.dims = {1, 5, 1}}}},
          {.inputs = {{.dims = {2, 0}}, {.dims = {}}}},
          {.inputs = {{.dtype = DType::i64, .dims = {7}, .low = -9, .high = 9},
                      {.dtype = DType::i64, .dims = {}, .low = -9, .high = 9}}}};
}
// Divisors away from zero.
std::vector<Sample> div_samples() {
  return {{.inputs = {{.dims = {2, 3, 5}}, {.dims = {2, 3, 5}, .low = 0.5, .high = 2}}},
          {.inputs = {{.dims = {2, 3, 5}}, {.dims = {3, 1}, .low = -2, .high = -0.5}}},
          {.inputs = {{.dtype = DType::i64, .dims = {2, 7}, .low = -9, .high = 9},
                      {.dtype = DType::i64, .dims = {}, .fixed = Tensor::scalar<int64_t>(-4)}}}};
}
std::vector<Sample> mod_samples() {
  const SampleInput ints{.dtype = DType::i32, .dims = {2, 7}, .low = -9, .high = 9};
  const SampleInput divisor{.dtype = DType::i32, .dims = {}, .fixed = Tensor::scalar<int32_t>(-4)};
  return {{.inputs = {ints, divisor}},
          {.inputs = {ints, divisor}, .attrs = {{"fmod", int64_t{1}}}},
          {.inputs = {{.dims = {5}}, {.dims = {}, .fixed = Tensor::scalar(0.375f)}},
           .attrs = {{"fmod", int64_t{1}}}},
          {.inputs = {{.dims = {5}}, {.dims = {}, .fixed = Tensor::scalar(-0.375f)}}}};
}
std::vector<Sample> pow_samples() {
  return {{.inputs = {{.dims = {2, 3, 5}, .low = 0.1, .high = 2},
                      {.dims = {3, 1}, .low = -2, .high = 2}}},
          {.inputs = {{.dims = {3, 5}}, {.dims = {}, .fixed = Tensor::scalar(2.0f)}}},
          {.inputs = {{.dims = {5}},
                      {.dtype = DType::i64, .dims = {}, .fixed = Tensor::scalar<int64_t>(3)}}},
          {.inputs = {{.dtype = DType::i32, .dims = {5}, .low = -9, .high = 9},
                      {.dtype = DType::i32, .dims = {}, .fixed = Tensor::scalar<int32_t>(3)}}}};
}
constexpr Traits traits(Pointwise p) { return {.elementwise = true, .pointwise = p}; }
}  // namespace
extern const OpDef add_op = binary_op("Add", 7, infer_add, add, samples, traits(Pointwise::add));
extern const OpDef sub_op = binary_op("Sub", 7, infer_sub, sub, samples, traits(Pointwise::sub));
extern const OpDef mul_op = binary_op("Mul", 7, infer_mul, mul, samples, traits(Pointwise::mul));
extern const OpDef div_op =
    binary_op("Div", 7, infer_div, div, div_samples, traits(Pointwise::div));
extern const OpDef mod_op =
    binary_op("Mod", 10, infer_mod, mod, mod_samples, {.elementwise = true, .discontinuous = true},
              {{"fmod", AttrKind::integer}});
extern const OpDef pow_op =
    binary_op("Pow", 12, infer_pow, pow, pow_samples, traits(Pointwise::pow));
}  // namespace vitrail
