// SPDX-License-Identifier: Apache-2.0
// ONNX Gather-13: slices of one axis by index.
#include <cstring>

#include "ops/rules.h"

namespace vitrail {
namespace {
void infer_shape(InferContext& ctx) {
  const ValueInfo &in = ctx.in(0), &indices = ctx.in(1);
  const auto axis = normalize_axis(ctx.attrs.integer("axis", 0), in.rank(), "axis");
  require_index_type(ctx, 1, "indices");
  ctx.out().dtype = in.dtype;
  Shape& out = ctx.out().shape;
  out.assign(in.shape.begin(), in.shape.begin() + axis);
  out.insert(out.end(), indices.shape.begin(), indices.shape.end());
  out.insert(out.end(), in.shape.begin() + axis + 1, in.shape.end());
}
void reference(RunContext& ctx) {
  const Tensor &in = ctx.in(0), &indices = ctx.in(1);
  const auto axis = normalize_axis(ctx.attrs.integer("axis", 0), in.rank(), "axis");
  const int64_t extent = in.dims()[static_cast<size_t>(axis)];
  const int64_t outer = element_count(Dims(in.dims().begin(), in.dims().begin() + axis));
  const int64_t inner = element_count(Dims(in.dims().begin() + axis + 1, in.dims().end()));
  const size_t width = size_of(in.dtype());
  require(width > 0, Code::unsupported, "Gather: element type {}", name_of(in.dtype()));
  ctx.out() = Tensor(in.dtype(), dims_by_rule(ctx, infer_shape));
  const size_t bytes = static_cast<size_t>(inner) * width;
  const char* from = static_cast<const char*>(in.raw());
  char* to = static_cast<char*>(ctx.out().mutable_raw());
  const auto list = indices.to_ints("indices");
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t index : list) {
      require(-extent <= index && index < extent, Code::bad_input,
              "index {} is out of range for extent {} of axis {}", index, extent, axis);
      if (index < 0) index += extent;
      if (bytes) std::memcpy(to, from + static_cast<size_t>(o * extent + index) * bytes, bytes);
      to += bytes;
    }
}
void infer(InferContext& ctx) {
  infer_shape(ctx);
  carry_content(ctx, reference);
}
std::vector<Sample> samples() {
  return {
      {.inputs = {{.dims = {5, 3}}, {.dtype = DType::i64, .dims = {2, 2}, .low = -5, .high = 4}}},
      {.inputs = {{.dims = {2, 5, 3}}, {.dtype = DType::i32, .dims = {4}, .low = 0, .high = 4}},
       .attrs = {{"axis", int64_t{-2}}}},
      {.inputs = {{.dims = {2, 5}}, {.fixed = Tensor::scalar<int64_t>(-1)}},
       .attrs = {{"axis", int64_t{1}}}}};
}
}  // namespace
extern const OpDef gather_op{.name = "Gather",
                             .domain = "",
                             .version = 13,
                             .attrs = {{"axis", AttrKind::integer}},
                             .min_inputs = 2,
                             .max_inputs = 2,
                             .min_outputs = 1,
                             .max_outputs = 1,
                             .traits = {},
                             .infer = infer,
                             .reference = reference,
                             .samples = samples};
}  // namespace vitrail
