// SPDX-License-Identifier: Apache-2.0
// ONNX Relu-14: max(x, 0).
#include "ops/elementwise.h"

namespace vitrail {
namespace {
void reference(RunContext& ctx) {
  map_float(ctx, "Relu", [](auto x) { return x < 0 ? decltype(x){0} : x; });
}
std::vector<Sample> samples() { return {{.inputs = {{.dims = {3, 17}}}}}; }
}  // namespace
extern const OpDef relu_op{.name = "Relu", .domain = "", .version = 14, .attrs = {},
                           .min_inputs = 1, .max_inputs = 1, .min_outputs = 1, .max_outputs = 1,
                           .traits = {.elementwise = true, .pointwise = Pointwise::relu},
                           .infer = infer_same, .reference = reference, .samples = samples};
}  // namespace vitrail
