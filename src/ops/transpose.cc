// SPDX-License-Identifier: Apache-2.0
// ONNX Transpose-13: axes in another order.
#include <algorithm>

#include "ops/movement.h"
#include "ops/rules.h"

namespace vitrail {
namespace {
std::vector<int64_t> permutation(const Attrs& attrs, size_t rank) {
  std::vector<int64_t> reversed(rank);
  for (size_t i = 0; i < rank; ++i) reversed[i] = static_cast<int64_t>(rank - 1 - i);
  const auto perm = attrs.integers("perm", reversed);
  require(perm.size() == rank, Code::bad_input, "perm {} has {} axes, the input has {}",
          to_string(perm), perm.size(), rank);
  require(std::all_of(perm.begin(), perm.end(), [](int64_t p) { return p >= 0; }), Code::bad_input,
          "perm {} has a negative axis", to_string(perm));
  return normalize_axes(perm, rank, "axis of perm");
}
void reference(RunContext& ctx) {
  const Dims& in = ctx.in(0).dims();
  const Dims from = row_major(in);
  Dims dims, strides;
  for (int64_t axis : permutation(ctx.attrs, in.size())) {
    dims.push_back(in[static_cast<size_t>(axis)]);
    strides.push_back(from[static_cast<size_t>(axis)]);
  }
  ctx.out() = strided_copy(ctx.in(0), dims, 0, strides);
}
void infer(InferContext& ctx) {
  const ValueInfo& in = ctx.in(0);
  ctx.out().dtype = in.dtype;
  for (int64_t axis : permutation(ctx.attrs, in.rank()))
    ctx.out().shape.push_back(in.shape[static_cast<size_t>(axis)]);
  carry_content(ctx, reference);
}
std::vector<Sample> samples() {
  return {
      {.inputs = {{.dims = {2, 3, 5}}}},
      {.inputs = {{.dims = {2, 3, 5, 7}}}, .attrs = {{"perm", std::vector<int64_t>{0, 3, 1, 2}}}},
      {.inputs = {{.dtype = DType::i64, .dims = {3, 2}, .low = -9, .high = 9}}}};
}
}  // namespace
extern const OpDef transpose_op{.name = "Transpose",
                                .domain = "",
                                .version = 13,
                                .attrs = {{"perm", AttrKind::integers}},
                                .min_inputs = 1,
                                .max_inputs = 1,
                                .min_outputs = 1,
                                .max_outputs = 1,
                                .traits = {.view = true},
                                .infer = infer,
                                .reference = reference,
                                .samples = samples};
}  // namespace vitrail
