// SPDX-License-Identifier: Apache-2.0
// ONNX Squeeze-13 and Unsqueeze-13: extents of one removed and inserted.
#include <algorithm>

#include "ops/rules.h"

namespace vitrail {
namespace {
std::vector<bool> marked(const std::vector<int64_t>& axes, size_t rank) {
  std::vector<bool> out(rank, false);
  for (int64_t axis : axes) out[static_cast<size_t>(axis)] = true;
  return out;
}
// The rank of the result would depend on symbols when they might be 1; they are taken for longer.
// (Graph::infer makes the axes explicit, so that a batch of one keeps its axis.)
void warn_of_kept(InferContext& ctx) {
  for (size_t i = 0; i < ctx.in(0).rank(); ++i)
    if (const Expr& e = ctx.in(0).shape[i]; !e.is_constant())
      ctx.warnings.push_back(fmt::format(
          "Squeeze without axes keeps axis {} of extent {}, also where that is 1", i, e.str()));
}
void infer_squeeze(InferContext& ctx) {
  const ValueInfo& in = ctx.in(0);
  if (!ctx.has(1)) warn_of_kept(ctx);
  const auto axes = ctx.has(1) ? normalize_axes(constant_list_of(ctx, 1, "axes"), in.rank(), "axis")
                               : squeezed_axes(in.shape);
  const auto removed = marked(axes, in.rank());
  ctx.out().dtype = in.dtype;
  for (size_t i = 0; i < in.rank(); ++i)
    if (removed[i])
      unify(ctx, in.shape[i], 1, "a squeezed extent and 1");
    else
      ctx.out().shape.push_back(in.shape[i]);
  ctx.out().content = in.ints();
}
void squeeze(RunContext& ctx) { ctx.out() = ctx.in(0).reshaped(dims_by_rule(ctx, infer_squeeze)); }
std::vector<Sample> squeeze_samples() {
  return {
      {.inputs = {{.dims = {1, 3, 1, 5}}, {.fixed = Tensor::of<int64_t>({1}, {-2})}}},
      {.inputs = {{.dims = {1, 3, 1, 5}}}},
      {.inputs = {{.dtype = DType::i64, .dims = {1}}, {.fixed = Tensor::of<int64_t>({1}, {0})}}}};
}

void infer_unsqueeze(InferContext& ctx) {
  const ValueInfo& in = ctx.in(0);
  const auto given = constant_list_of(ctx, 1, "axes");
  const size_t rank = in.rank() + given.size();
  const auto inserted = marked(normalize_axes(given, rank, "axis"), rank);
  ctx.out().dtype = in.dtype;
  auto next = in.shape.begin();
  for (size_t i = 0; i < rank; ++i) ctx.out().shape.push_back(inserted[i] ? Expr(1) : *next++);
  ctx.out().content = in.ints();
}
void unsqueeze(RunContext& ctx) {
  ctx.out() = ctx.in(0).reshaped(dims_by_rule(ctx, infer_unsqueeze));
}
std::vector<Sample> unsqueeze_samples() {
  return {
      {.inputs = {{.dims = {3, 5}}, {.fixed = Tensor::of<int64_t>({2}, {-1, 0})}}},
      {.inputs = {{.dtype = DType::i64, .dims = {}}, {.fixed = Tensor::of<int64_t>({1}, {0})}}}};
}
}  // namespace
extern const OpDef squeeze_op{.name = "Squeeze",
                              .domain = "",
                              .version = 13,
                              .attrs = {},
                              .min_inputs = 1,
                              .max_inputs = 2,
                              .min_outputs = 1,
                              .max_outputs = 1,
                              .traits = {.view = true},
                              .infer = infer_squeeze,
                              .reference = squeeze,
                              .samples = squeeze_samples};
extern const OpDef unsqueeze_op{.name = "Unsqueeze",
                                .domain = "",
                                .version = 13,
                                .attrs = {},
                                .min_inputs = 2,
                                .max_inputs = 2,
                                .min_outputs = 1,
                                .max_outputs = 1,
                                .traits = {.view = true},
                                .infer = infer_unsqueeze,
                                .reference = unsqueeze,
                                .samples = unsqueeze_samples};
}  // namespace vitrail
