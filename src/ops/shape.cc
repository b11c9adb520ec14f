// SPDX-License-Identifier: Apache-2.0
// ONNX Shape-15 and Size-13: extents as data.
#include <algorithm>

#include "ops/rules.h"

namespace vitrail {
namespace {
std::pair<int64_t, int64_t> window(const Attrs& attrs, size_t rank) {
  const auto r = static_cast<int64_t>(rank);
  const auto clamp = [&](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + r : i, 0, r); };
  const int64_t start = clamp(attrs.integer("start", 0)), end = clamp(attrs.integer("end", r));
  return {start, std::max(start, end)};
}
void infer(InferContext& ctx) {
  const Shape& shape = ctx.in(0).shape;
  const auto [start, end] = window(ctx.attrs, shape.size());
  ctx.out().dtype = DType::i64;
  ctx.out().shape = {end - start};
  ctx.out().content = std::vector<Expr>(shape.begin() + start, shape.begin() + end);
}
void reference(RunContext& ctx) {
  const Dims& dims = ctx.in(0).dims();
  const auto [start, end] = window(ctx.attrs, dims.size());
  ctx.out() = Tensor::of<int64_t>({end - start}, Dims(dims.begin() + start, dims.begin() + end));
}
std::vector<Sample> samples() {
  return {{.inputs = {{.dims = {2, 3, 5}}}},
          {.inputs = {{.dims = {2, 3, 5}}}, .attrs = {{"start", int64_t{-2}}, {"end", int64_t{9}}}},
          {.inputs = {{.dims = {2, 3, 5}}}, .attrs = {{"start", int64_t{2}}, {"end", int64_t{1}}}},
          {.inputs = {{.dims = {}}}}};
}

void infer_size(InferContext& ctx) {
  ctx.out().dtype = DType::i64;
  ctx.out().shape = {};
  ctx.out().content = std::vector<Expr>{element_count(ctx.in(0).shape)};
}
void size(RunContext& ctx) { ctx.out() = Tensor::scalar<int64_t>(ctx.in(0).size()); }
std::vector<Sample> size_samples() {
  return {{.inputs = {{.dims = {2, 3, 5}}}}, {.inputs = {{.dims = {}}}}};
}
}  // namespace
extern const OpDef shape_op{.name = "Shape",
                            .domain = "",
                            .version = 15,
                            .attrs = {{"start", AttrKind::integer}, {"end", AttrKind::integer}},
                            .min_inputs = 1,
                            .max_inputs = 1,
                            .min_outputs = 1,
                            .max_outputs = 1,
                            .traits = {},
                            .infer = infer,
                            .reference = reference,
                            .samples = samples};
extern const OpDef size_op{.name = "Size",
                           .domain = "",
                           .version = 13,
                           .attrs = {},
                           .min_inputs = 1,
                           .max_inputs = 1,
                           .min_outputs = 1,
                           .max_outputs = 1,
                           .traits = {},
                           .infer = infer_size,
                           .reference = size,
                           .samples = size_samples};
}  // namespace vitrail
