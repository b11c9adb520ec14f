// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "ir/graph.h"

namespace vitrail::ir {

/// Shape rule of a node with control flow in `graph`: gives its bodies the types of the node's
/// inputs, infers them, and sets `ctx.outputs`. An extent on which the branches of an If differ
/// becomes a data symbol. Throws Error(unsupported) for branches of different ranks and for carried
/// values of a Loop that change their shape.
void infer_control_flow(Graph& graph, const Node& node, InferContext& ctx);

}  // namespace vitrail::ir
