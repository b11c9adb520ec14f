// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "ir/graph.h"

namespace vitrail::ir {

/// Shape rule of a node with control flow in `graph`: gives its bodies the types of the node's
/// inputs, infers them, and sets `ctx.outputs`. An extent on which the branches of an If differ
/// becomes a data symbol. Throws Error(unsupported) for branches of different ranks and for carried
/// values of a Loop that change their shape.
void infer_control_flow(Graph& graph, const Node& node, InferContext& ctx);

/// The node that gives a data symbol its value: the first whose output has it as an extent and
/// which the graph's inputs do not know.
struct SymbolWriter {
  NodeId node;
  size_t output = 0, axis = 0;
};
std::map<std::string, SymbolWriter> symbol_writers(const Graph& graph);

/// Makes bodies self-contained and as small as they can be, so that passes can work inside them:
/// constants read from outside become the body's own (the memory stays shared), what the bodies do
/// not read is no longer handed to them, every output of a Loop exists, and an If whose condition
/// is known is replaced by its branch. Returns the number of changes.
size_t open_control_flow(Graph& graph);

}  // namespace vitrail::ir
