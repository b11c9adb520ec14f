// SPDX-License-Identifier: Apache-2.0
// ONNX If and Loop. What they do is in the bodies of their nodes: the graph infers their shapes and
// whoever executes a graph runs them. Inputs and bodies are arranged as ir::Node says; `carried`
// counts Loop's carried values (inputs 2 and on; captured values follow them).
#include "ops/op.h"

namespace vitrail {
namespace {
void infer(InferContext&) { fail(Code::internal, "the node has no bodies"); }
void reference(RunContext&) { fail(Code::internal, "control flow has no reference of its own"); }
std::vector<Sample> samples() { return {}; }
}  // namespace
extern const OpDef if_op{.name = "If",
                         .domain = "",
                         .version = 16,
                         .attrs = {},
                         .min_inputs = 1,
                         .max_inputs = kMany,
                         .min_outputs = 1,
                         .max_outputs = kMany,
                         .traits = {.control = true},
                         .infer = infer,
                         .reference = reference,
                         .samples = samples};
extern const OpDef loop_op{.name = "Loop",
                           .domain = "",
                           .version = 16,
                           .attrs = {{"carried", AttrKind::integer, true}},
                           .min_inputs = 2,
                           .max_inputs = kMany,
                           .min_outputs = 1,
                           .max_outputs = kMany,
                           .traits = {.control = true},
                           .infer = infer,
                           .reference = reference,
                           .samples = samples};
}  // namespace vitrail
