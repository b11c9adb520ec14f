// SPDX-License-Identifier: Apache-2.0
// MatMul(x, W)   =>   fusion "gemm"(x, W)
#include "passes/pipeline.h"
#include "passes/single.h"

namespace vitrail::passes {

size_t outline_singles(ir::Graph& graph) {
  size_t changes = 0;
  for (ir::NodeId id : graph.topological_order()) {
    const char* family = single_family(graph, graph.node(id));
    if (!family) continue;
    ir::outline(graph, {id}, family);
    ++changes;
  }
  return changes;
}

void dissolve_refused(ir::Graph& graph, ir::NodeId fusion) {
  const bool single = graph.node(fusion).bodies[0]->node_count() == 1;
  const auto slots = static_cast<uint32_t>(graph.node_slots());
  ir::dissolve(graph, fusion);
  if (single) return;
  const auto end = static_cast<uint32_t>(graph.node_slots());
  for (uint32_t i = slots; i < end; ++i)
    if (const char* family = single_family(graph, graph.node({i})))
      ir::outline(graph, {{i}}, family);
}

}  // namespace vitrail::passes
