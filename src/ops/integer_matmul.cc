// SPDX-License-Identifier: Apache-2.0
// ONNX MatMulInteger-10, ConvInteger-10, QLinearMatMul-21 and QLinearConv-10: products of 8-bit
// numbers (value - zero point). Sums are exact: in float64 they stay far below 2^53.
#include <cmath>

#include "ops/contraction.h"
#include "ops/conv.h"
#include "ops/elementwise.h"
#include "ops/fast_reference.h"

namespace vitrail {
namespace {
void require_byte(InferContext& ctx, size_t i) {
  const DType t = ctx.in(i).dtype;
  require(t == DType::i8 || t == DType::u8, Code::bad_input, "input {} is {}, expected i8 or u8", i,
          name_of(t));
}
// One number, or one for each of `channels`; the zero point of input `of` has its type.
void require_parameter(InferContext& ctx, size_t i, const Expr& channels, const char* what) {
  const ValueInfo& p = ctx.in(i);
  const bool one = p.rank() == 0 || (p.rank() == 1 && p.shape[0].is(1));
  require(one || p.rank() == 1, Code::unsupported,
          "{} of shape {}: one number or a list is supported", what, to_string(p.shape));
  if (!one) unify(ctx, p.shape[0], channels, what);
}
void require_zero_point(InferContext& ctx, size_t i, size_t of, const Expr& channels) {
  if (!ctx.has(i)) return;
  require(ctx.in(i).dtype == ctx.in(of).dtype, Code::bad_input,
          "zero point {} is {} but input {} is {}", i, name_of(ctx.in(i).dtype), of,
          name_of(ctx.in(of).dtype));
  require_parameter(ctx, i, channels, "zero points");
}
void require_scale(InferContext& ctx, size_t i, const Expr& channels) {
  require(is_float(ctx.in(i).dtype), Code::bad_input,
          "scale (input {}) is {}, expected a float type", i, name_of(ctx.in(i).dtype));
  require_parameter(ctx, i, channels, "scales");
}

// A parameter as a tensor of `rank` that broadcasts along `axis`.
Tensor along(const Tensor& parameter, size_t axis, size_t rank) {
  Dims dims(rank, 1);
  if (rank > 0) dims[axis] = parameter.size();
  return parameter.cast(DType::f64).reshaped(rank > 0 ? dims : Dims{});
}
// x - zero point in float64; `axis` is that of a zero point for each channel.
Tensor shifted(const RunContext& ctx, size_t x, size_t zero_point, size_t axis) {
  Tensor wide = ctx.in(x).cast(DType::f64);
  if (!ctx.has(zero_point)) return wide;
  return broadcast_tensors(wide, along(ctx.in(zero_point), axis, wide.rank()), "zero point",
                           [](auto a, auto b) { return a - b; });
}
size_t row_axis(const Tensor& a) { return a.rank() >= 2 ? a.rank() - 2 : 0; }
size_t column_axis(const Tensor& b) { return b.rank() - 1; }

// Scales of input i as float64, checked.
Tensor scales_of(const RunContext& ctx, size_t i) {
  Tensor scale = ctx.in(i).cast(DType::f64);
  for (double s : std::as_const(scale).span<double>())
    require(std::isfinite(s) && s > 0, Code::bad_input,
            "a scale (input {}) is {}, expected a number above 0", i, s);
  return scale;
}
// round(sums * factor) + zero point, in the type of the zero point; halves to even.
Tensor requantized(const Tensor& sums, const Tensor& factor, const Tensor& zero_point) {
  const double zero = zero_point.number_at(0);
  const Tensor wide = broadcast_tensors(
      sums, factor, "scale", [&](auto s, auto f) { return std::nearbyint(s * f) + zero; });
  return wide.cast(zero_point.dtype());
}

Tensor product(const Tensor& a, const Tensor& b, const Dims& dims) {
  Tensor out(DType::f64, dims);
  multiply(matmul_shape(a.dims(), b.dims(), dims), a.data<double>(), b.data<double>(),
           out.mutable_data<double>());
  return out;
}
Tensor convolved(const ConvShape& s, const Tensor& x, const Tensor& w, const Tensor& bias) {
  Tensor out(DType::f64, s.out_dims);
  const double* start = bias.defined() ? bias.data<double>() : nullptr;
  if (fast::worthwhile(s))
    fast::conv(s, x.data<double>(), w.data<double>(), start, out.mutable_data<double>());
  else
    plain_conv(s, x.data<double>(), w.data<double>(), start, out.mutable_data<double>());
  return out;
}

// ---------------------------------------------------------------- MatMulInteger
void infer_matmul(InferContext& ctx) {
  require_byte(ctx, 0);
  require_byte(ctx, 1);
  infer_matmul_shape(ctx);
  const Shape &a = ctx.in(0).shape, &b = ctx.in(1).shape;
  require_zero_point(ctx, 2, 0, a.size() >= 2 ? a[a.size() - 2] : Expr(1));
  require_zero_point(ctx, 3, 1, b.back());
  ctx.out().dtype = DType::i32;
}
void matmul_integer(RunContext& ctx) {
  const Dims dims = dims_by_rule(ctx, infer_matmul);
  ctx.out() = product(shifted(ctx, 0, 2, row_axis(ctx.in(0))),
                      shifted(ctx, 1, 3, column_axis(ctx.in(1))), dims)
                  .cast(DType::i32);
}
SampleInput bytes(DType dtype, Dims dims) {
  return {.dtype = dtype,
          .dims = std::move(dims),
          .low = dtype == DType::i8 ? -128.0 : 0.0,
          .high = dtype == DType::i8 ? 127.0 : 255.0};
}
SampleInput scale(float s) { return {.fixed = Tensor::scalar(s)}; }
SampleInput zero(uint8_t z) { return {.fixed = Tensor::scalar(z)}; }
std::vector<Sample> matmul_samples() {
  return {{.inputs = {bytes(DType::u8, {4, 7}), bytes(DType::i8, {7, 3})}},
          {.inputs = {bytes(DType::u8, {2, 4, 7}),
                      bytes(DType::i8, {7, 3}),
                      zero(128),
                      {.fixed = Tensor::of<int8_t>({3}, {1, -2, 3})}}}};
}

// ---------------------------------------------------------------- ConvInteger
void infer_conv_integer(InferContext& ctx) {
  require_byte(ctx, 0);
  require_byte(ctx, 1);
  infer_conv(ctx);
  require_zero_point(ctx, 2, 0, 1);
  require_zero_point(ctx, 3, 1, ctx.in(1).shape[0]);
  ctx.out().dtype = DType::i32;
}
void conv_integer(RunContext& ctx) {
  apply_rule(ctx, infer_conv_integer);
  ctx.out() =
      convolved(conv_shape(ctx), shifted(ctx, 0, 2, 0), shifted(ctx, 1, 3, 0), {}).cast(DType::i32);
}
using Ints = std::vector<int64_t>;
const Attrs& conv_attributes() {
  static const Attrs attrs{{"auto_pad", "NOTSET"},     {"dilations", Ints{1, 2}},
                           {"group", int64_t{2}},      {"kernel_shape", Ints{3, 2}},
                           {"pads", Ints{1, 0, 0, 1}}, {"strides", Ints{2, 1}}};
  return attrs;
}
std::vector<Sample> conv_samples() {
  return {{.inputs = {bytes(DType::u8, {2, 4, 7, 6}), bytes(DType::i8, {6, 2, 3, 2}), zero(7)},
           .attrs = conv_attributes()},
          {.inputs = {bytes(DType::u8, {1, 3, 5, 5}),
                      bytes(DType::u8, {2, 3, 1, 1}),
                      zero(1),
                      {.fixed = Tensor::of<uint8_t>({2}, {3, 4})}}}};
}

// ---------------------------------------------------------------- QLinearMatMul
// a, scale, zero, b, scale, zero, scale and zero of the result
void infer_qlinear_matmul(InferContext& ctx) {
  require_byte(ctx, 0);
  require_byte(ctx, 3);
  require_byte(ctx, 7);
  infer_matmul_shape(ctx, 0, 3);
  const Shape &a = ctx.in(0).shape, &b = ctx.in(3).shape;
  const Expr rows = a.size() >= 2 ? a[a.size() - 2] : Expr(1), columns = b.back();
  require_scale(ctx, 1, rows);
  require_zero_point(ctx, 2, 0, rows);
  require_scale(ctx, 4, columns);
  require_zero_point(ctx, 5, 3, columns);
  require_scale(ctx, 6, 1);
  require_parameter(ctx, 7, 1, "zero points");
  ctx.out().dtype = ctx.in(7).dtype;
}
void qlinear_matmul(RunContext& ctx) {
  const Dims dims = dims_by_rule(ctx, infer_qlinear_matmul);
  const Tensor &a = ctx.in(0), &b = ctx.in(3);
  const Tensor sums =
      product(shifted(ctx, 0, 2, row_axis(a)), shifted(ctx, 3, 5, column_axis(b)), dims);
  const size_t rank = dims.size();
  const auto times = [](const Tensor& x, const Tensor& y) {
    return broadcast_tensors(x, y, "scale", [](auto p, auto q) { return p * q; });
  };
  const auto spread = [&](const Tensor& s, size_t axis) {
    return s.size() == 1 ? along(s, 0, 0) : along(s, axis, rank);
  };
  const Tensor a_scale = spread(scales_of(ctx, 1), rank >= 2 ? rank - 2 : 0),
               b_scale = spread(scales_of(ctx, 4), rank >= 1 ? rank - 1 : 0);
  const Tensor factor =
      times(times(a_scale, b_scale), Tensor::scalar(1 / scales_of(ctx, 6).number_at(0)));
  ctx.out() = requantized(sums, factor, ctx.in(7));
}
std::vector<Sample> qlinear_matmul_samples() {
  return {{.inputs = {bytes(DType::u8, {2, 4, 7}), scale(0.02f), zero(128),
                      bytes(DType::u8, {7, 3}), scale(0.01f), zero(113), scale(0.05f), zero(118)}},
          {.inputs = {bytes(DType::u8, {4, 7}),
                      scale(0.02f),
                      zero(128),
                      bytes(DType::i8, {7, 3}),
                      {.fixed = Tensor::of<float>({3}, {0.01f, 0.02f, 0.03f})},
                      {.fixed = Tensor::of<int8_t>({3}, {0, 1, -5})},
                      scale(0.05f),
                      {.fixed = Tensor::scalar(int8_t{3})}}}};
}

// ---------------------------------------------------------------- QLinearConv
// x, scale, zero, w, scale, zero, scale and zero of the result, bias
void infer_qlinear_conv(InferContext& ctx) {
  require_byte(ctx, 0);
  require_byte(ctx, 3);
  require_byte(ctx, 7);
  infer_conv(ctx, 3);
  const Expr channels = ctx.in(3).shape[0];
  require_scale(ctx, 1, 1);
  require_zero_point(ctx, 2, 0, 1);
  require_scale(ctx, 4, channels);
  require_zero_point(ctx, 5, 3, channels);
  require_scale(ctx, 6, 1);
  require_parameter(ctx, 7, 1, "zero points");
  if (ctx.has(8)) {
    require(ctx.in(8).dtype == DType::i32 && ctx.in(8).rank() == 1, Code::bad_input,
            "the bias must be a list of i32");
    unify(ctx, ctx.in(8).shape[0], channels, "length of the bias and number of output channels");
  }
  ctx.out().dtype = ctx.in(7).dtype;
}
void qlinear_conv(RunContext& ctx) {
  apply_rule(ctx, infer_qlinear_conv);
  const ConvShape s = conv_shape(ctx, 3);
  const Tensor sums = convolved(s, shifted(ctx, 0, 2, 0), shifted(ctx, 3, 5, 0),
                                ctx.has(8) ? ctx.in(8).cast(DType::f64) : Tensor());
  const double common = scales_of(ctx, 1).number_at(0) / scales_of(ctx, 6).number_at(0);
  Tensor factor = along(scales_of(ctx, 4), 1, sums.rank());
  factor = broadcast_tensors(factor, Tensor::scalar(common), "scale",
                             [](auto x, auto y) { return x * y; });
  ctx.out() = requantized(sums, factor, ctx.in(7));
}
std::vector<Sample> qlinear_conv_samples() {
  return {{.inputs = {bytes(DType::u8, {2, 4, 7, 6}),
                      scale(0.02f),
                      zero(128),
                      bytes(DType::i8, {6, 2, 3, 2}),
                      scale(0.01f),
                      {.fixed = Tensor::scalar(int8_t{0})},
                      scale(0.05f),
                      zero(118),
                      {.dtype = DType::i32, .dims = {6}, .low = -500, .high = 500}},
           .attrs = conv_attributes()},
          {.inputs = {bytes(DType::u8, {1, 3, 5, 5}),
                      scale(0.02f),
                      zero(128),
                      bytes(DType::i8, {2, 3, 1, 1}),
                      {.fixed = Tensor::of<float>({2}, {0.01f, 0.03f})},
                      {.fixed = Tensor::of<int8_t>({2}, {0, 0})},
                      scale(0.05f),
                      zero(118)}}};
}
}  // namespace

extern const OpDef matmul_integer_op{.name = "MatMulInteger",
                                     .domain = "",
                                     .version = 10,
                                     .attrs = {},
                                     .min_inputs = 2,
                                     .max_inputs = 4,
                                     .min_outputs = 1,
                                     .max_outputs = 1,
                                     .traits = {.reduction = true},
                                     .infer = infer_matmul,
                                     .reference = matmul_integer,
                                     .samples = matmul_samples};
extern const OpDef conv_integer_op{.name = "ConvInteger",
                                   .domain = "",
                                   .version = 10,
                                   .attrs = {{"auto_pad", AttrKind::text},
                                             {"dilations", AttrKind::integers},
                                             {"group", AttrKind::integer},
                                             {"kernel_shape", AttrKind::integers},
                                             {"pads", AttrKind::integers},
                                             {"strides", AttrKind::integers}},
                                   .min_inputs = 2,
                                   .max_inputs = 4,
                                   .min_outputs = 1,
                                   .max_outputs = 1,
                                   .traits = {.reduction = true},
                                   .infer = infer_conv_integer,
                                   .reference = conv_integer,
                                   .samples = conv_samples};
extern const OpDef qlinear_matmul_op{.name = "QLinearMatMul",
                                     .domain = "",
                                     .version = 21,
                                     .attrs = {},
                                     .min_inputs = 8,
                                     .max_inputs = 8,
                                     .min_outputs = 1,
                                     .max_outputs = 1,
                                     .traits = {.reduction = true},
                                     .infer = infer_qlinear_matmul,
                                     .reference = qlinear_matmul,
                                     .samples = qlinear_matmul_samples};
extern const OpDef qlinear_conv_op{.name = "QLinearConv",
                                   .domain = "",
                                   .version = 10,
                                   .attrs = {{"auto_pad", AttrKind::text},
                                             {"dilations", AttrKind::integers},
                                             {"group", AttrKind::integer},
                                             {"kernel_shape", AttrKind::integers},
                                             {"pads", AttrKind::integers},
                                             {"strides", AttrKind::integers}},
                                   .min_inputs = 8,
                                   .max_inputs = 9,
                                   .min_outputs = 1,
                                   .max_outputs = 1,
                                   .traits = {.reduction = true},
                                   .infer = infer_qlinear_conv,
                                   .reference = qlinear_conv,
                                   .samples = qlinear_conv_samples};
}  // namespace vitrail
