// SPDX-License-Identifier: Apache-2.0
// Mul(x, Sigmoid(x))            =>   Swish(x, alpha 1)        SiLU
// Mul(x, Sigmoid(Mul(x, a)))    =>   Swish(x, alpha a)        QuickGELU has a = 1.702
//
// Near miss that must stay: the sigmoid of another value (a gate).
#include "passes/match.h"
#include "passes/passes.h"

namespace vitrail::passes {

size_t fuse_swish(ir::Graph& graph) {
  size_t changes = 0;
  const Matcher match(graph);
  for (ir::NodeId id : graph.topological_order()) {
    const ir::Node& node = graph.node(id);
    if (!node.is("Mul") || graph.value(node.outputs[0]).dtype != DType::f32) continue;
    for (size_t i = 0; i < 2; ++i) {
      const ir::Node* sigmoid = match.from(node.inputs[i], "Sigmoid");
      if (!sigmoid) continue;
      const ir::ValueId x = node.inputs[1 - i];
      double alpha = 1;
      ir::ValueId inner = sigmoid->inputs[0];
      std::vector<ir::NodeId> replaced = {graph.value(node.inputs[i]).producer, id};
      if (inner != x) {
        const ir::Node* mul = match.from(inner, "Mul");
        const auto product = mul ? match.with_scalar(*mul) : std::nullopt;
        if (!product) continue;
        replaced.insert(replaced.begin(), graph.value(inner).producer);
        inner = product->value;
        alpha = product->number;
      }
      if (inner != x) continue;
      const ir::ValueId out = node.outputs[0];
      replace_with(graph, out, "Swish", {x}, {{"alpha", alpha}}, replaced);
      ++changes;
      break;
    }
  }
  return changes + graph.remove_dead();
}

}  // namespace vitrail::passes
