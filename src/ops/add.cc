// SPDX-License-Identifier: Apache-2.0
// ONNX Add-14: elementwise sum with numpy's broadcasting.
#include "ops/elementwise.h"

namespace vitrail {
namespace {
void infer(InferContext& ctx) {
  infer_broadcast(ctx, [](const Expr& a, const Expr& b) { return a + b; });
}
void reference(RunContext& ctx) {
  map_broadcast(ctx, "Add", [](auto a, auto b) { return a + b; });
}
std::vector<Sample> samples() {
  return {{.inputs = {{.dims = {2, 3, 5}}, {.dims = {2, 3, 5}}}},
          {.inputs = {{.dims = {2, 3, 5}}, {.dims = {3, 1}}}},
          {.inputs = {{.dtype = DType::i64, .dims = {7}, .low = -9, .high = 9},
                      {.dtype = DType::i64, .dims = {}, .low = -9, .high = 9}}}};
}
}  // namespace
extern const OpDef add_op{.name = "Add", .domain = "", .version = 14, .attrs = {},
                          .min_inputs = 2, .max_inputs = 2, .min_outputs = 1, .max_outputs = 1,
                          .traits = {.elementwise = true, .pointwise = Pointwise::add},
                          .infer = infer, .reference = reference, .samples = samples};
}  // namespace vitrail
