// SPDX-License-Identifier: Apache-2.0
// ONNX Concat-13 and Split-18: pieces along one axis.
#include <cstring>

#include "ops/movement.h"
#include "ops/rules.h"

namespace vitrail {
namespace {
// Elements before and after the axis.
std::pair<int64_t, int64_t> around(const Dims& dims, int64_t axis) {
  return {element_count(Dims(dims.begin(), dims.begin() + axis)),
          element_count(Dims(dims.begin() + axis + 1, dims.end()))};
}
int64_t axis_of(const Attrs& attrs, const Dims& dims) {
  return normalize_axis(attrs.integer("axis", 0), dims.size(), "axis");
}

void infer_concat_shape(InferContext& ctx) {
  Shape shape = ctx.in(0).shape;
  const auto axis =
      static_cast<size_t>(normalize_axis(ctx.attrs.integer("axis"), shape.size(), "axis"));
  for (size_t i = 1; i < ctx.inputs.size(); ++i) {
    const Shape& next = ctx.in(i).shape;
    require_type_of_first(ctx, i);
    require(next.size() == shape.size(), Code::bad_input,
            "input 0 has shape {} but input {} has {}", to_string(ctx.in(0).shape), i,
            to_string(next));
    for (size_t d = 0; d < shape.size(); ++d)
      shape[d] =
          d == axis ? shape[d] + next[d] : unify(ctx, shape[d], next[d], "extents of inputs");
  }
  ctx.out().dtype = ctx.in(0).dtype;
  ctx.out().shape = std::move(shape);
}
void concat(RunContext& ctx) {
  const Dims dims = dims_by_rule(ctx, infer_concat_shape);
  ctx.out() = Tensor(ctx.in(0).dtype(), dims);
  const auto [outer, inner] = around(dims, axis_of(ctx.attrs, dims));
  const auto width = static_cast<int64_t>(size_of(ctx.out().dtype()));
  require(width > 0, Code::unsupported, "Concat: element type {}", name_of(ctx.out().dtype()));
  char* to = static_cast<char*>(ctx.out().mutable_raw());
  for (int64_t o = 0; o < outer; ++o)
    for (size_t i = 0; i < ctx.inputs.size(); ++i) {
      const int64_t bytes =
          ctx.in(i).dims()[static_cast<size_t>(axis_of(ctx.attrs, dims))] * inner * width;
      if (bytes)
        std::memcpy(to, static_cast<const char*>(ctx.in(i).raw()) + o * bytes,
                    static_cast<size_t>(bytes));
      to += bytes;
    }
}
void infer_concat(InferContext& ctx) {
  infer_concat_shape(ctx);
  carry_content(ctx, concat, ctx.inputs.size());
}
std::vector<Sample> concat_samples() {
  return {{.inputs = {{.dims = {2, 3, 5}}, {.dims = {2, 1, 5}}, {.dims = {2, 4, 5}}},
           .attrs = {{"axis", int64_t{1}}}},
          {.inputs = {{.dims = {7}}}, .attrs = {{"axis", int64_t{0}}}},
          {.inputs = {{.dtype = DType::i64, .dims = {3, 2}, .low = -9, .high = 9},
                      {.dtype = DType::i64, .dims = {3, 0}}},
           .attrs = {{"axis", int64_t{-1}}}}};
}

void infer_split_shape(InferContext& ctx) {
  const ValueInfo& in = ctx.in(0);
  const auto axis =
      static_cast<size_t>(normalize_axis(ctx.attrs.integer("axis", 0), in.rank(), "axis"));
  const Expr& extent = in.shape[axis];
  const auto pieces = static_cast<int64_t>(ctx.outputs.size());
  std::vector<Expr> sizes;
  if (ctx.has(1)) {
    require(!ctx.attrs.has("num_outputs"), Code::bad_input, "both sizes and num_outputs are given");
    const int64_t count = list_length(ctx, 1, "split sizes");
    require(count == pieces, Code::bad_input, "{} split sizes for {} outputs", count, pieces);
    if (const auto known = list_of(ctx, 1, "split sizes")) {
      Expr sum = 0;
      for (const Expr& size : *known) {
        require_extent(ctx, size, "a split size");
        sum += size;
      }
      unify(ctx, sum, extent, "sum of the split sizes and extent of the axis");
      sizes = *known;
    } else {
      for (int64_t i = 0; i < pieces; ++i) sizes.push_back(data_extent(ctx, "size", extent));
    }
  } else {
    const int64_t wanted = ctx.attrs.integer("num_outputs", pieces);
    require(wanted == pieces, Code::bad_input, "num_outputs is {} for {} outputs", wanted, pieces);
    const Expr size = ceildiv(extent, pieces), last = extent - size * Expr(pieces - 1);
    require_extent(ctx, last, "the last of the split sizes");
    sizes.assign(static_cast<size_t>(pieces), size);
    sizes.back() = last;
  }
  for (size_t i = 0; i < ctx.outputs.size(); ++i) {
    ctx.out(i).dtype = in.dtype;
    ctx.out(i).shape = in.shape;
    ctx.out(i).shape[axis] = sizes[i];
  }
}
void split(RunContext& ctx) {
  const auto outputs = apply_rule(ctx, infer_split_shape);
  const Tensor& in = ctx.in(0);
  const int64_t axis = axis_of(ctx.attrs, in.dims());
  const Dims strides = row_major(in.dims());
  int64_t at = 0;
  for (size_t i = 0; i < outputs.size(); ++i) {
    ctx.out(i) = strided_copy(in, to_dims(outputs[i].shape),
                              at * strides[static_cast<size_t>(axis)], strides);
    at += ctx.out(i).dims()[static_cast<size_t>(axis)];
  }
}
void infer_split(InferContext& ctx) {
  infer_split_shape(ctx);
  carry_content(ctx, split);
}
std::vector<Sample> split_samples() {
  return {{.inputs = {{.dims = {2, 6}}},
           .attrs = {{"axis", int64_t{1}}, {"num_outputs", int64_t{3}}},
           .outputs = 3},
          {.inputs = {{.dims = {7, 2}}}, .attrs = {{"num_outputs", int64_t{3}}}, .outputs = 3},
          {.inputs = {{.dims = {2, 6}}, {.fixed = Tensor::of<int64_t>({3}, {1, 0, 5})}},
           .attrs = {{"axis", int64_t{-1}}},
           .outputs = 3}};
}
}  // namespace
extern const OpDef concat_op{.name = "Concat",
                             .domain = "",
                             .version = 13,
                             .attrs = {{"axis", AttrKind::integer, true}},
                             .min_inputs = 1,
                             .max_inputs = kMany,
                             .min_outputs = 1,
                             .max_outputs = 1,
                             .traits = {},
                             .infer = infer_concat,
                             .reference = concat,
                             .samples = concat_samples};
extern const OpDef split_op{
    .name = "Split",
    .domain = "",
    .version = 18,
    .attrs = {{"axis", AttrKind::integer}, {"num_outputs", AttrKind::integer}},
    .min_inputs = 1,
    .max_inputs = 2,
    .min_outputs = 1,
    .max_outputs = kMany,
    .traits = {.view = true},
    .infer = infer_split,
    .reference = split,
    .samples = split_samples};
}  // namespace vitrail
