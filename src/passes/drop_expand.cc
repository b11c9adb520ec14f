// SPDX-License-Identifier: Apache-2.0
// Div(x, Expand(Clip(ReduceL2(x, axis), eps)))   =>   Div(x, Clip(ReduceL2(x, axis), eps))
//
// F.normalize as exporters write it: the Expand to the shape of x only repeats what Div broadcasts
// anyway. The rest is what spectral_attention looks for.
#include "passes/match.h"
#include "passes/passes.h"

namespace vitrail::passes {

size_t drop_expand(ir::Graph& graph) {
  size_t changes = 0;
  const Matcher match(graph);
  for (ir::NodeId id : graph.topological_order()) {
    const ir::Node& node = graph.node(id);
    if (!node.op || !node.op->traits.elementwise || node.inputs.size() != 2) continue;
    if (node.is("PRelu")) continue;  // its slope broadcasts to x, but not x to the slope
    for (size_t i = 0; i < 2; ++i) {
      const ir::Node* expand = match.from(node.inputs[i], "Expand");
      if (!expand) continue;
      const ir::Value &small = graph.value(expand->inputs[0]),
                      &other = graph.value(node.inputs[1 - i]);
      if (small.rank() > other.rank() || other.shape != graph.value(node.outputs[0]).shape)
        continue;
      graph.node(id).inputs[i] = expand->inputs[0];
      ++changes;
      break;
    }
  }
  return changes + graph.remove_dead();
}

}  // namespace vitrail::passes
