// SPDX-License-Identifier: Apache-2.0
// ONNX NonZero-13, Compress-11, OneHot-11: places where a condition holds, and the reverse.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/elementwise.h"
#include "ops/movement.h"
#include "ops/rules.h"

namespace vitrail {
namespace {
void infer_non_zero(InferContext& ctx) {
  const ValueInfo& in = ctx.in(0);
  require(in.dtype != DType::string, Code::bad_input, "the input holds strings");
  ctx.out().dtype = DType::i64;
  ctx.out().shape = {static_cast<int64_t>(in.rank()),
                     data_extent(ctx, "found", element_count(in.shape))};
}
void non_zero(RunContext& ctx) {
  const Tensor& in = ctx.in(0);
  std::vector<int64_t> found;
  for (int64_t i = 0; i < in.size(); ++i)
    if (in.number_at(i) != 0) found.push_back(i);
  const Dims strides = row_major(in.dims());
  ctx.out() =
      Tensor(DType::i64, {static_cast<int64_t>(in.rank()), static_cast<int64_t>(found.size())});
  int64_t* to = ctx.out().mutable_data<int64_t>();
  for (size_t d = 0; d < in.rank(); ++d)
    for (int64_t i : found) *to++ = i / strides[d] % in.dims()[d];
}
std::vector<Sample> non_zero_samples() {
  return {{.inputs = {{.dtype = DType::i64, .dims = {3, 5}, .low = 0, .high = 1}}},
          {.inputs = {{.dtype = DType::boolean, .dims = {7}}}},
          {.inputs = {{.dims = {2, 0}}}}};
}

void infer_compress(InferContext& ctx) {
  const ValueInfo &in = ctx.in(0), &condition = ctx.in(1);
  require(condition.dtype == DType::boolean && condition.rank() == 1, Code::bad_input,
          "the condition must be a list of booleans");
  ctx.out().dtype = in.dtype;
  ctx.out().shape = in.shape;
  if (!ctx.attrs.has("axis")) {
    ctx.out().shape = {data_extent(ctx, "kept", element_count(in.shape))};
    return;
  }
  const auto axis =
      static_cast<size_t>(normalize_axis(ctx.attrs.integer("axis"), in.rank(), "axis"));
  ctx.out().shape[axis] = data_extent(ctx, "kept", in.shape[axis]);
}
void compress(RunContext& ctx) {
  const bool flat = !ctx.attrs.has("axis");
  const Tensor in = flat ? ctx.in(0).reshaped({ctx.in(0).size()}) : ctx.in(0);
  const Tensor& condition = ctx.in(1);
  const auto axis =
      static_cast<size_t>(flat ? 0 : normalize_axis(ctx.attrs.integer("axis"), in.rank(), "axis"));
  require(condition.size() <= in.dims()[axis], Code::bad_input, "{} conditions for {} elements",
          condition.size(), in.dims()[axis]);
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < condition.size(); ++i)
    if (condition.int_at(i)) kept.push_back(i);
  Dims dims = in.dims();
  dims[axis] = static_cast<int64_t>(kept.size());
  ctx.out() = Tensor(in.dtype(), dims);
  const size_t width = size_of(in.dtype());
  require(width > 0, Code::unsupported, "Compress: element type {}", name_of(in.dtype()));
  const Dims strides = row_major(in.dims());
  const size_t bytes = static_cast<size_t>(strides[axis]) * width;
  const int64_t outer =
      element_count(Dims(dims.begin(), dims.begin() + static_cast<std::ptrdiff_t>(axis)));
  char* to = static_cast<char*>(ctx.out().mutable_raw());
  for (int64_t o = 0; o < outer && ctx.out().size() > 0; ++o)
    for (int64_t i : kept) {
      std::memcpy(
          to,
          static_cast<const char*>(in.raw()) + static_cast<size_t>(o * in.dims()[axis] + i) * bytes,
          bytes);
      to += bytes;
    }
}
std::vector<Sample> compress_samples() {
  const SampleInput condition{.fixed = Tensor::of<bool>({3}, {true, false, true})};
  return {{.inputs = {{.dims = {2, 4, 3}}, condition}, .attrs = {{"axis", int64_t{-2}}}},
          {.inputs = {{.dims = {2, 4}}, condition}}};
}

void infer_one_hot(InferContext& ctx) {
  const ValueInfo &indices = ctx.in(0), &depth = ctx.in(1), &values = ctx.in(2);
  require_numeric(ctx, 0);
  require_numeric(ctx, 1);
  unify(ctx, element_count(depth.shape), 1, "elements of depth and 1");
  unify(ctx, element_count(values.shape), 2, "elements of values (off and on) and 2");
  const auto axis = normalize_axis(ctx.attrs.integer("axis", -1), indices.rank() + 1, "axis");
  const auto known = depth.ints();
  const Expr extent =
      known && known->size() == 1 ? (*known)[0] : data_extent(ctx, "depth", Interval::kUnbounded);
  require_extent(ctx, extent, "depth");
  ctx.out().dtype = values.dtype;
  ctx.out().shape = indices.shape;
  ctx.out().shape.insert(ctx.out().shape.begin() + axis, extent);
}
void one_hot(RunContext& ctx) {
  const Tensor &indices = ctx.in(0), &values = ctx.in(2);
  const Dims dims = dims_by_rule(ctx, infer_one_hot);
  const auto axis =
      static_cast<size_t>(normalize_axis(ctx.attrs.integer("axis", -1), dims.size(), "axis"));
  const int64_t depth = dims[axis],
                inner = element_count(
                    Dims(dims.begin() + static_cast<std::ptrdiff_t>(axis) + 1, dims.end()));
  ctx.out() = Tensor(values.dtype(), dims);
  with_cell(values.dtype(), "OneHot", [&](auto tag) {
    using C = decltype(tag);
    C* to = mutable_cells<C>(ctx.out());
    std::fill_n(to, ctx.out().size(), cells<C>(values)[0]);
    if (ctx.out().size() == 0) return;
    for (int64_t i = 0; i < indices.size(); ++i) {
      const double wanted = std::trunc(indices.number_at(i)),
                   at = wanted < 0 ? wanted + static_cast<double>(depth) : wanted;
      if (!(at >= 0 && at < static_cast<double>(depth))) continue;  // no such place: all off
      to[(i / inner * depth + static_cast<int64_t>(at)) * inner + i % inner] = cells<C>(values)[1];
    }
  });
}
std::vector<Sample> one_hot_samples() {
  const SampleInput depth{.fixed = Tensor::scalar<int64_t>(4)},
      values{.fixed = Tensor::of<float>({2}, {-1, 2})};
  return {{.inputs = {{.dtype = DType::i64, .dims = {2, 3}, .low = -6, .high = 5}, depth, values}},
          {.inputs = {{.dtype = DType::i32, .dims = {2, 3}, .low = 0, .high = 3}, depth, values},
           .attrs = {{"axis", int64_t{1}}}}};
}
}  // namespace
extern const OpDef non_zero_op{.name = "NonZero",
                               .domain = "",
                               .version = 13,
                               .attrs = {},
                               .min_inputs = 1,
                               .max_inputs = 1,
                               .min_outputs = 1,
                               .max_outputs = 1,
                               .traits = {.discontinuous = true, .data_shape = true},
                               .infer = infer_non_zero,
                               .reference = non_zero,
                               .samples = non_zero_samples};
extern const OpDef compress_op{.name = "Compress",
                               .domain = "",
                               .version = 11,
                               .attrs = {{"axis", AttrKind::integer}},
                               .min_inputs = 2,
                               .max_inputs = 2,
                               .min_outputs = 1,
                               .max_outputs = 1,
                               .traits = {.data_shape = true},
                               .infer = infer_compress,
                               .reference = compress,
                               .samples = compress_samples};
extern const OpDef one_hot_op{.name = "OneHot",
                              .domain = "",
                              .version = 11,
                              .attrs = {{"axis", AttrKind::integer}},
                              .min_inputs = 3,
                              .max_inputs = 3,
                              .min_outputs = 1,
                              .max_outputs = 1,
                              .traits = {},
                              .infer = infer_one_hot,
                              .reference = one_hot,
                              .samples = one_hot_samples};
}  // namespace vitrail
