// SPDX-License-Identifier: Apache-2.0
// ONNX Constant, ConstantOfShape and Range.
#include <algorithm>
#include <cmath>

#include "ops/axes.h"
#include "ops/elementwise.h"

namespace vitrail {
namespace {
constexpr size_t kLargestContent = 4096;

// ---------------------------------------------------------------- Constant
Tensor constant_of(const Attrs& attrs) {
  require(attrs.all().size() == 1, Code::bad_input,
          "exactly one value attribute is needed, {} given", attrs.all().size());
  if (attrs.has("value")) return attrs.tensor("value");
  if (attrs.has("value_int")) return Tensor::scalar<int64_t>(attrs.integer("value_int"));
  if (attrs.has("value_float"))
    return Tensor::scalar(static_cast<float>(attrs.number("value_float")));
  if (attrs.has("value_ints")) {
    const auto values = attrs.integers("value_ints");
    return Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, values);
  }
  const auto values = attrs.numbers("value_floats");
  return Tensor::of<float>({static_cast<int64_t>(values.size())},
                           std::vector<float>(values.begin(), values.end()));
}
void infer_constant(InferContext& ctx) {
  const Tensor value = constant_of(ctx.attrs);
  ctx.out().dtype = value.dtype();
  ctx.out().shape = to_shape(value.dims());
  ctx.out().content = ValueInfo{value.dtype(), ctx.out().shape, &value, {}}.ints();
}
void constant(RunContext& ctx) { ctx.out() = constant_of(ctx.attrs); }

// ---------------------------------------------------------------- ConstantOfShape
Tensor fill_value(const Attrs& attrs) {
  if (!attrs.has("value")) return Tensor::scalar(0.0f);
  const Tensor& value = attrs.tensor("value");
  require(value.size() == 1, Code::bad_input, "attribute 'value' has {} elements, one is needed",
          value.size());
  return value;
}
void infer_constant_of_shape(InferContext& ctx) {
  const ValueInfo& target = ctx.in(0);
  require(target.dtype == DType::i64 && target.rank() == 1, Code::bad_input,
          "the shape is {}{}, an i64 vector is needed", name_of(target.dtype),
          to_string(target.shape));
  const Tensor value = fill_value(ctx.attrs);
  ctx.out().dtype = value.dtype();
  const auto extents = target.ints();
  if (extents) {
    for (const Expr& e : *extents)
      require(!e.is_constant() || e.constant() >= 0, Code::bad_input, "negative extent {}",
              e.str());
    ctx.out().shape = *extents;
  } else {
    require(target.shape[0].is_constant(), Code::unsupported,
            "the rank of the result is known only when the model runs");
    for (int64_t d = 0; d < target.shape[0].constant(); ++d)
      ctx.out().shape.push_back(ctx.data_symbol("d" + std::to_string(d), Interval::kUnbounded));
  }
  const Shape& shape = ctx.out().shape;
  if (shape.size() > 1 ||
      (shape.size() == 1 &&
       (!shape[0].is_constant() || shape[0].constant() > static_cast<int64_t>(kLargestContent))))
    return;
  const auto element = ValueInfo{value.dtype(), {}, &value, {}}.ints();
  const int64_t count = shape.empty() ? 1 : shape[0].constant();
  if (element) ctx.out().content = std::vector<Expr>(static_cast<size_t>(count), (*element)[0]);
}
void constant_of_shape(RunContext& ctx) {
  const Tensor value = fill_value(ctx.attrs);
  Tensor out(value.dtype(), ctx.in(0).to_ints("shape"));
  const size_t size = size_of(value.dtype());
  require(size > 0, Code::unsupported, "ConstantOfShape: strings");
  for (int64_t i = 0; i < out.size(); ++i)
    std::memcpy(static_cast<char*>(out.mutable_raw()) + static_cast<size_t>(i) * size, value.raw(),
                size);
  ctx.out() = std::move(out);
}

// ---------------------------------------------------------------- Range
// Number of elements: max(ceil((limit - start) / delta), 0). Integers exactly, floats as ONNX says.
template <typename T>
int64_t range_count(T start, T limit, T delta) {
  require(delta != T{0}, Code::bad_input, "Range: the step is zero");
  if constexpr (std::is_floating_point_v<T>) {
    const double count = std::ceil((static_cast<double>(limit) - static_cast<double>(start)) /
                                   static_cast<double>(delta));
    require(count < 0x1p62, Code::bad_input, "Range: {} to {} by {} has too many elements", start,
            limit, delta);
    return count > 0 ? static_cast<int64_t>(count) : 0;
  } else {
    // Distances of 64-bit numbers need 65 bits.
    const auto span = static_cast<__int128>(limit) - static_cast<__int128>(start),
               step = static_cast<__int128>(delta);
    const __int128 count = span / step + ((span % step != 0 && (span < 0) == (step < 0)) ? 1 : 0);
    return count > 0 ? static_cast<int64_t>(std::min<__int128>(count, INT64_MAX)) : 0;
  }
}
void infer_range(InferContext& ctx) {
  require_numeric(ctx);
  for (size_t i = 0; i < 3; ++i) {
    require_same_type(ctx, i);
    const Expr count = element_count(ctx.in(i).shape);
    require(!count.is_constant() || count.is(1), Code::bad_input,
            "input {} has shape {}, a scalar is needed", i, to_string(ctx.in(i).shape));
  }
  ctx.out().dtype = ctx.in(0).dtype;
  const auto unknown = [&] { ctx.out().shape = {ctx.data_symbol("count", Interval::kUnbounded)}; };
  if (ctx.in(0).constant && ctx.in(1).constant && ctx.in(2).constant && is_float(ctx.in(0).dtype)) {
    ctx.out().shape = {range_count(ctx.in(0).constant->number_at(0),
                                   ctx.in(1).constant->number_at(0),
                                   ctx.in(2).constant->number_at(0))};
    return;
  }
  const auto start = ctx.in(0).ints(), limit = ctx.in(1).ints(), delta = ctx.in(2).ints();
  if (!start || !limit || !delta || !(*delta)[0].is_constant() || (*delta)[0].is(0))
    return unknown();
  const int64_t step = (*delta)[0].constant();
  const Expr span = (*limit)[0] - (*start)[0];
  Expr count = ceildiv(step > 0 ? span : -span, step > 0 ? step : -step);
  if (count.bounds(ctx.ranges).low < 0) count = max(count, 0);
  ctx.out().shape = {count};
  if (!count.is_constant() || count.constant() > static_cast<int64_t>(kLargestContent)) return;
  std::vector<Expr> content;
  for (int64_t i = 0; i < count.constant(); ++i) content.push_back((*start)[0] + Expr(i) * step);
  set_content(ctx.out(), std::move(content));
}
void range(RunContext& ctx) {
  for (size_t i = 0; i < 3; ++i)
    require(ctx.in(i).size() == 1, Code::bad_input, "Range: input {} has {} elements", i,
            ctx.in(i).size());
  with_type(ctx.in(0).dtype(), "Range", [&](auto tag) {
    using T = decltype(tag);
    const T start = *ctx.in(0).data<T>(), limit = *ctx.in(1).data<T>(),
            delta = *ctx.in(2).data<T>();
    ctx.out() = Tensor(ctx.in(0).dtype(), {range_count(start, limit, delta)});
    T* to = ctx.out().mutable_data<T>();
    for (int64_t i = 0; i < ctx.out().size(); ++i) {
      if constexpr (std::is_floating_point_v<T>)
        to[i] = start + static_cast<T>(i) * delta;
      else
        to[i] = static_cast<T>(static_cast<uint64_t>(start) +
                               static_cast<uint64_t>(i) * static_cast<uint64_t>(delta));
    }
  });
}

// ---------------------------------------------------------------- samples
std::vector<Sample> constant_samples() {
  return {{.inputs = {}, .attrs = {{"value", Tensor::of<int64_t>({2}, {3, -1})}}},
          {.inputs = {}, .attrs = {{"value_int", int64_t{5}}}},
          {.inputs = {}, .attrs = {{"value_float", 0.5}}},
          {.inputs = {}, .attrs = {{"value_ints", std::vector<int64_t>{1, 2}}}},
          {.inputs = {}, .attrs = {{"value_floats", std::vector<double>{1.5, 2}}}}};
}
std::vector<Sample> shape_samples() {
  const auto shape = [](const std::vector<int64_t>& list) {
    return SampleInput{.dtype = DType::i64,
                       .fixed = Tensor::of<int64_t>({static_cast<int64_t>(list.size())}, list)};
  };
  return {{.inputs = {shape({2, 3})}},
          {.inputs = {shape({})}},
          {.inputs = {shape({4})}, .attrs = {{"value", Tensor::of<int64_t>({1}, {-1})}}},
          {.inputs = {shape({2, 0})}}};
}
std::vector<Sample> range_samples() {
  const auto scalar = [](auto v) {
    return SampleInput{.dtype = dtype_of<decltype(v)>(), .fixed = Tensor::scalar(v)};
  };
  return {{.inputs = {scalar(int64_t{0}), scalar(int64_t{7}), scalar(int64_t{2})}},
          {.inputs = {scalar(int32_t{9}), scalar(int32_t{-4}), scalar(int32_t{-3})}},
          {.inputs = {scalar(int64_t{5}), scalar(int64_t{2}), scalar(int64_t{1})}},
          {.inputs = {scalar(0.5f), scalar(2.0f), scalar(0.25f)}}};
}
}  // namespace
extern const OpDef constant_op{.name = "Constant",
                               .domain = "",
                               .version = 1,
                               .attrs = {{"value", AttrKind::tensor},
                                         {"value_int", AttrKind::integer},
                                         {"value_ints", AttrKind::integers},
                                         {"value_float", AttrKind::number},
                                         {"value_floats", AttrKind::numbers}},
                               .min_inputs = 0,
                               .max_inputs = 0,
                               .min_outputs = 1,
                               .max_outputs = 1,
                               .traits = {},
                               .infer = infer_constant,
                               .reference = constant,
                               .samples = constant_samples};
extern const OpDef constant_of_shape_op =
    unary_op("ConstantOfShape", 9, constant_of_shape, shape_samples, {},
             {{"value", AttrKind::tensor}}, infer_constant_of_shape);
extern const OpDef range_op{.name = "Range",
                            .domain = "",
                            .version = 11,
                            .attrs = {},
                            .min_inputs = 3,
                            .max_inputs = 3,
                            .min_outputs = 1,
                            .max_outputs = 1,
                            .traits = {},
                            .infer = infer_range,
                            .reference = range,
                            .samples = range_samples};
}  // namespace vitrail
