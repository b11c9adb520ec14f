// SPDX-License-Identifier: Apache-2.0
// ONNX QuantizeLinear and DequantizeLinear: y = saturate(round(x / scale) + zero point), half to
// even, and x = (y - zero point) * scale. One scale for the tensor, one for each index of `axis`,
// or one for each block of `block_size` along it. Also DynamicQuantizeLinear.
#include <algorithm>
#include <cmath>

#include "ops/axes.h"
#include "ops/elementwise.h"

namespace vitrail {
namespace {
bool quantized_type(DType t) {
  return t == DType::i8 || t == DType::u8 || t == DType::i16 || t == DType::u16;
}

// ---------------------------------------------------------------- shape rules
// A scale is a step between neighbours: none, a negative one or NaN is a calibration gone wrong.
void require_steps(const Tensor& scale) {
  for (int64_t i = 0; i < scale.size(); ++i) {
    const double step = scale.number_at(i);
    require(std::isfinite(step) && step > 0, Code::bad_input,
            "scale {} is {}, expected a finite number above 0; calibrate the model again", i, step);
  }
}
void require_parameters(InferContext& ctx) {
  const ValueInfo &x = ctx.in(0), &scale = ctx.in(1);
  require_float(ctx, 1);
  if (scale.constant) require_steps(*scale.constant);
  if (ctx.has(2)) {
    const Shape& zero = ctx.in(2).shape;
    require(zero.size() == scale.rank(), Code::bad_input,
            "scale {} and zero point {} differ in rank", to_string(scale.shape), to_string(zero));
    for (size_t d = 0; d < zero.size(); ++d)
      require(!zero[d].is_constant() || !scale.shape[d].is_constant() || zero[d] == scale.shape[d],
              Code::bad_input, "scale {} and zero point {} differ in shape", to_string(scale.shape),
              to_string(zero));
  }
  const int64_t block = ctx.attrs.integer("block_size", 0);
  require(block >= 0, Code::bad_input, "attribute 'block_size' is {}", block);
  if (element_count(scale.shape).is(1) && block == 0) return;  // one for the tensor
  const auto axis =
      static_cast<size_t>(normalize_axis(ctx.attrs.integer("axis", 1), x.rank(), "axis"));
  if (block == 0) return require_vector(ctx, 1, x.shape[axis], "scale");
  require(scale.rank() == x.rank(), Code::bad_input, "blocks need a scale of rank {}, found {}",
          x.rank(), to_string(scale.shape));
  for (size_t d = 0; d < x.rank(); ++d) {
    const Expr wanted = d == axis ? ceildiv(x.shape[d], block) : x.shape[d];
    const Expr& found = scale.shape[d];
    require(!wanted.is_constant() || !found.is_constant() || wanted == found, Code::bad_input,
            "scale {} does not fit x {} in blocks of {}", to_string(scale.shape),
            to_string(x.shape), block);
    if (!(wanted == found)) ctx.equalities.push_back({wanted, found});
  }
}
void infer_quantize(InferContext& ctx) {
  const ValueInfo& x = ctx.in(0);
  require(is_float(x.dtype) || x.dtype == DType::i32, Code::bad_input,
          "input 0 is {}, a float or i32 is needed", name_of(x.dtype));
  require_parameters(ctx);
  const int64_t wanted = ctx.attrs.integer("output_dtype", 0);
  DType to = wanted != 0 ? dtype_of_onnx_number(wanted) : DType::u8;
  if (ctx.has(2)) {
    require(wanted == 0 || to == ctx.in(2).dtype, Code::bad_input,
            "attribute 'output_dtype' is {} but the zero point is {}", name_of(to),
            name_of(ctx.in(2).dtype));
    to = ctx.in(2).dtype;
  }
  require(quantized_type(to), Code::unsupported, "quantization to {}", name_of(to));
  ctx.out().dtype = to;
  ctx.out().shape = x.shape;
}
void infer_dequantize(InferContext& ctx) {
  const ValueInfo& x = ctx.in(0);
  require(quantized_type(x.dtype) || x.dtype == DType::i32, Code::unsupported,
          "dequantization of {}", name_of(x.dtype));
  if (ctx.has(2)) require_same_type(ctx, 2);
  require_parameters(ctx);
  const int64_t wanted = ctx.attrs.integer("output_dtype", 0);
  ctx.out().dtype = wanted != 0 ? dtype_of_onnx_number(wanted) : ctx.in(1).dtype;
  require(is_float(ctx.out().dtype), Code::bad_input,
          "attribute 'output_dtype' is {}, a float is needed", name_of(ctx.out().dtype));
  ctx.out().shape = x.shape;
}

// ---------------------------------------------------------------- references
// Calls each(element of x, its scale's place).
template <typename F>
void for_each_scale(const RunContext& ctx, F each) {
  const Tensor &x = ctx.in(0), &scale = ctx.in(1);
  const int64_t block = ctx.attrs.integer("block_size", 0);
  if (scale.size() == 1 && block == 0) {
    for (int64_t e = 0; e < x.size(); ++e) each(e, 0);
    return;
  }
  const int64_t axis = normalize_axis(ctx.attrs.integer("axis", 1), x.rank(), "axis");
  const AxisSplit split = split_at(x.dims(), axis);
  const int64_t blocks = block == 0 ? 0 : (split.extent + block - 1) / block;
  const int64_t expected = block == 0 ? split.extent : split.outer * blocks * split.inner;
  require(scale.size() == expected, Code::bad_input, "{} scales, expected {}", scale.size(),
          expected);
  int64_t e = 0;
  for (int64_t o = 0; o < split.outer; ++o)
    for (int64_t a = 0; a < split.extent; ++a)
      for (int64_t i = 0; i < split.inner; ++i, ++e)
        each(e, block == 0 ? a : (o * blocks + a / block) * split.inner + i);
}

void quantize(RunContext& ctx) {
  const int64_t wanted = ctx.attrs.integer("output_dtype", 0);
  const DType to_type = ctx.has(2)    ? ctx.in(2).dtype()
                        : wanted != 0 ? dtype_of_onnx_number(wanted)
                                      : DType::u8;
  ctx.out() = Tensor(to_type, ctx.in(0).dims());
  // The division happens in the scale's type, as every implementation does it: it decides ties.
  const Tensor x = ctx.in(0).cast(ctx.in(1).dtype());
  with_float_type(x.dtype(), "QuantizeLinear", [&](auto tag) {
    using T = decltype(tag);
    const T *from = x.data<T>(), *scale = ctx.in(1).data<T>();
    with_type(to_type, "QuantizeLinear", [&](auto to_tag) {
      using To = decltype(to_tag);
      const To* zero = ctx.has(2) ? ctx.in(2).data<To>() : nullptr;
      To* to = ctx.out().mutable_data<To>();
      for_each_scale(ctx, [&](int64_t e, int64_t s) {
        to[e] = to_element<To>(std::nearbyint(from[e] / scale[s]) +
                               (zero ? static_cast<double>(zero[s]) : 0));
      });
    });
  });
}
void dequantize(RunContext& ctx) {
  const Tensor &x = ctx.in(0), &scale = ctx.in(1);
  ctx.out() = Tensor(scale.dtype(), x.dims());
  with_float_type(scale.dtype(), "DequantizeLinear", [&](auto tag) {
    using T = decltype(tag);
    with_type(x.dtype(), "DequantizeLinear", [&](auto from_tag) {
      using From = decltype(from_tag);
      const From *from = x.data<From>(), *zero = ctx.has(2) ? ctx.in(2).data<From>() : nullptr;
      T* to = ctx.out().template mutable_data<T>();
      for_each_scale(ctx, [&](int64_t e, int64_t s) {
        const int64_t shifted =
            static_cast<int64_t>(from[e]) - (zero ? static_cast<int64_t>(zero[s]) : 0);
        to[e] = static_cast<T>(shifted) * scale.data<T>()[s];
      });
    });
  });
  const int64_t wanted = ctx.attrs.integer("output_dtype", 0);
  if (wanted != 0 && !ctx.wide) ctx.out() = ctx.out().cast(dtype_of_onnx_number(wanted));
}

// ---------------------------------------------------------------- DynamicQuantizeLinear
void infer_dynamic(InferContext& ctx) {
  infer_float(ctx);
  require(ctx.in(0).dtype == DType::f32, Code::bad_input, "input 0 is {}, f32 is needed",
          name_of(ctx.in(0).dtype));
  ctx.out().dtype = DType::u8;
  if (ctx.outputs.size() > 1) ctx.out(1).dtype = DType::f32;
  if (ctx.outputs.size() > 2) ctx.out(2).dtype = DType::u8;
}
void dynamic_quantize(RunContext& ctx) {
  const Tensor& x = ctx.in(0);
  with_float_type(x.dtype(), "DynamicQuantizeLinear", [&](auto tag) {
    using T = decltype(tag);
    T low = 0, high = 0;  // the range always holds zero
    for (T v : x.span<T>()) {
      low = std::min(low, v);
      high = std::max(high, v);
    }
    // All zeros: any scale does, and 1 divides.
    const T scale = high == low ? T{1} : (high - low) / 255;
    const auto zero = to_element<uint8_t>(std::nearbyint(-low / scale));
    Tensor y(DType::u8, x.dims());
    for (int64_t i = 0; i < x.size(); ++i)
      y.mutable_data<uint8_t>()[i] =
          to_element<uint8_t>(std::nearbyint(x.data<T>()[i] / scale) + static_cast<double>(zero));
    const Tensor results[] = {y, Tensor::scalar(scale), Tensor::scalar(zero)};
    for (size_t i = 0; i < ctx.outputs.size(); ++i) ctx.out(i) = results[i];
  });
}

// ---------------------------------------------------------------- samples
// The attributes that every case may carry without changing its meaning here.
Attrs with_common(Attrs attrs) {
  attrs.set("axis", int64_t{-2});
  return attrs;
}
std::vector<Sample> quantize_samples() {
  const SampleInput x{.dims = {2, 3, 5}, .low = -9, .high = 9},
      scale{.dims = {}, .fixed = Tensor::scalar(0.0625f)};
  const SampleInput scales{.dims = {3}, .low = 0.01, .high = 0.1},
      blocks{.dims = {2, 2, 5}, .low = 0.01, .high = 0.1};
  return {{.inputs = {x, scale}, .attrs = {{"saturate", int64_t{1}}}},
          {.inputs = {x, scale, {.dtype = DType::i8, .dims = {}, .low = -9, .high = 9}}},
          {.inputs = {x, scales, {.dtype = DType::u8, .dims = {3}, .low = 0, .high = 200}}},
          {.inputs = {x, scales},
           .attrs = with_common(
               {{"output_dtype", onnx_number_of(DType::i16)}, {"precision", int64_t{0}}})},
          {.inputs = {x, blocks}, .attrs = with_common({{"block_size", int64_t{2}}})}};
}
std::vector<Sample> dequantize_samples() {
  const SampleInput x{.dtype = DType::i8, .dims = {2, 3, 5}, .low = -128, .high = 127};
  const SampleInput scale{.dims = {}, .low = 0.01, .high = 0.1},
      scales{.dims = {3}, .low = 0.01, .high = 0.1};
  return {{.inputs = {x, scale}},
          {.inputs = {x, scales, {.dtype = DType::i8, .dims = {3}, .low = -9, .high = 9}},
           .attrs = with_common({})},
          {.inputs = {{.dtype = DType::i32, .dims = {4}, .low = -9999, .high = 9999}, scale},
           .attrs = {{"output_dtype", onnx_number_of(DType::f32)}}},
          {.inputs = {x, {.dims = {2, 2, 5}, .low = 0.01, .high = 0.1}},
           .attrs = with_common({{"block_size", int64_t{2}}})}};
}
std::vector<Sample> dynamic_samples() {
  return {{.inputs = {{.dims = {3, 5}, .low = -3, .high = 7}}, .outputs = 3},
          {.inputs = {{.dims = {4}, .fixed = Tensor::of<float>({4}, {0, 0, 0, 0})}}, .outputs = 3}};
}
}  // namespace
extern const OpDef dequantize_linear_op{.name = "DequantizeLinear",
                                        .domain = "",
                                        .version = 13,
                                        .attrs = {{"axis", AttrKind::integer},
                                                  {"block_size", AttrKind::integer},
                                                  {"output_dtype", AttrKind::integer}},
                                        .min_inputs = 2,
                                        .max_inputs = 3,
                                        .min_outputs = 1,
                                        .max_outputs = 1,
                                        .traits = {},
                                        .infer = infer_dequantize,
                                        .reference = dequantize,
                                        .samples = dequantize_samples};
extern const OpDef dynamic_quantize_linear_op{.name = "DynamicQuantizeLinear",
                                              .domain = "",
                                              .version = 11,
                                              .attrs = {},
                                              .min_inputs = 1,
                                              .max_inputs = 1,
                                              .min_outputs = 3,
                                              .max_outputs = 3,
                                              .traits = {.discontinuous = true, .reduction = true},
                                              .infer = infer_dynamic,
                                              .reference = dynamic_quantize,
                                              .samples = dynamic_samples};
extern const OpDef quantize_linear_op{.name = "QuantizeLinear",
                                      .domain = "",
                                      .version = 13,
                                      .attrs = {{"axis", AttrKind::integer},
                                                {"block_size", AttrKind::integer},
                                                {"output_dtype", AttrKind::integer},
                                                {"saturate", AttrKind::integer},
                                                {"precision", AttrKind::integer}},
                                      .min_inputs = 2,
                                      .max_inputs = 3,
                                      .min_outputs = 1,
                                      .max_outputs = 1,
                                      .traits = {.discontinuous = true},
                                      .infer = infer_quantize,
                                      .reference = quantize,
                                      .samples = quantize_samples};
}  // namespace vitrail
