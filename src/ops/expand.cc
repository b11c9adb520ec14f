// SPDX-License-Identifier: Apache-2.0
// ONNX Expand-13 and Tile-13: elements repeated.
#include <algorithm>

#include "ops/movement.h"
#include "ops/rules.h"

namespace vitrail {
namespace {
void infer_expand_shape(InferContext& ctx) {
  const ValueInfo& in = ctx.in(0);
  ctx.out().dtype = in.dtype;
  const int64_t rank = list_length(ctx, 1, "the target shape");
  if (const auto target = list_of(ctx, 1, "the target shape")) {
    for (const Expr& e : *target) require_extent(ctx, e, "an extent of the target shape");
    ctx.out().shape = ctx.broadcast(in.shape, *target);
  } else {
    const size_t out_rank = std::max(in.rank(), static_cast<size_t>(rank));
    for (size_t i = 0; i < out_rank; ++i)
      ctx.out().shape.push_back(data_extent(ctx, "extent", Interval::kUnbounded));
  }
}
void expand(RunContext& ctx) {
  const Tensor& in = ctx.in(0);
  const Dims dims = dims_by_rule(ctx, infer_expand_shape), dense = row_major(in.dims());
  Dims strides(dims.size(), 0);
  const size_t skip = dims.size() - in.rank();
  for (size_t i = 0; i < in.rank(); ++i)
    if (in.dims()[i] != 1) strides[skip + i] = dense[i];
  ctx.out() = strided_copy(in, dims, 0, strides);
}
void infer_expand(InferContext& ctx) {
  infer_expand_shape(ctx);
  carry_content(ctx, expand);
}
std::vector<Sample> expand_samples() {
  return {
      {.inputs = {{.dims = {3, 1}}, {.fixed = Tensor::of<int64_t>({3}, {2, 1, 5})}}},
      {.inputs = {{.dims = {}}, {.fixed = Tensor::of<int64_t>({2}, {2, 3})}}},
      {.inputs = {{.dtype = DType::i64, .dims = {1}}, {.fixed = Tensor::of<int64_t>({1}, {4})}}}};
}

void infer_tile_shape(InferContext& ctx) {
  const ValueInfo& in = ctx.in(0);
  ctx.out().dtype = in.dtype;
  const int64_t count = list_length(ctx, 1, "repeats");
  require(count == static_cast<int64_t>(in.rank()), Code::bad_input, "{} repeats for shape {}",
          count, to_string(in.shape));
  const auto repeats = list_of(ctx, 1, "repeats");
  for (size_t i = 0; i < in.rank(); ++i) {
    if (repeats) require_extent(ctx, (*repeats)[i], "a number of repeats");
    ctx.out().shape.push_back(repeats ? in.shape[i] * (*repeats)[i]
                                      : data_extent(ctx, "extent", Interval::kUnbounded));
  }
}
void tile(RunContext& ctx) {
  // [r0, r1] copies of [d0, d1] are the dense [r0, d0, r1, d1] with stride 0 along r.
  const Tensor& in = ctx.in(0);
  const Dims out = dims_by_rule(ctx, infer_tile_shape), dense = row_major(in.dims()),
             repeats = ctx.in(1).to_ints("repeats");
  Dims dims, strides;
  for (size_t i = 0; i < in.rank(); ++i) {
    dims.insert(dims.end(), {repeats[i], in.dims()[i]});
    strides.insert(strides.end(), {0, dense[i]});
  }
  ctx.out() = strided_copy(in, dims, 0, strides).reshaped(out);
}
void infer_tile(InferContext& ctx) {
  infer_tile_shape(ctx);
  carry_content(ctx, tile);
}
std::vector<Sample> tile_samples() {
  return {{.inputs = {{.dims = {2, 3, 5}}, {.fixed = Tensor::of<int64_t>({3}, {1, 3, 2})}}},
          {.inputs = {{.dims = {2, 3}}, {.fixed = Tensor::of<int64_t>({2}, {0, 2})}}}};
}
}  // namespace
extern const OpDef expand_op{.name = "Expand",
                             .domain = "",
                             .version = 13,
                             .attrs = {},
                             .min_inputs = 2,
                             .max_inputs = 2,
                             .min_outputs = 1,
                             .max_outputs = 1,
                             .traits = {.view = true},
                             .infer = infer_expand,
                             .reference = expand,
                             .samples = expand_samples};
extern const OpDef tile_op{.name = "Tile",
                           .domain = "",
                           .version = 13,
                           .attrs = {},
                           .min_inputs = 2,
                           .max_inputs = 2,
                           .min_outputs = 1,
                           .max_outputs = 1,
                           .traits = {},
                           .infer = infer_tile,
                           .reference = tile,
                           .samples = tile_samples};
}  // namespace vitrail
