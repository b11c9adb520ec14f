// SPDX-License-Identifier: Apache-2.0
// Reshape(Reshape(x))              =>   Reshape(x)
// Transpose(Transpose(x, p), q)    =>   Transpose(x, p after q)
// Squeeze, Unsqueeze, Flatten      =>   Reshape
#include "passes/match.h"
#include "passes/passes.h"

namespace vitrail::passes {
namespace {

bool merge_transposes(ir::Graph& graph, ir::NodeId id) {
  const ir::Node& outer = graph.node(id);
  const ir::NodeId inner_id = graph.value(outer.inputs[0]).producer;
  const ir::Node* inner = graph.producer(outer.inputs[0]);
  if (!inner || !inner->is("Transpose")) return false;
  const auto p = transpose_perm(graph, *inner), q = transpose_perm(graph, outer);
  std::vector<int64_t> perm;
  for (int64_t i : q) perm.push_back(p[static_cast<size_t>(i)]);
  replace_with(graph, outer.outputs[0], "Transpose", {inner->inputs[0]}, {{"perm", perm}},
               {inner_id, id});
  return true;
}

bool merge_reshapes(ir::Graph& graph, ir::NodeId id) {
  const ir::Node& outer = graph.node(id);
  std::vector<ir::NodeId> replaced = {id};
  ir::ValueId source = outer.inputs[0];
  for (const ir::Node* up = graph.producer(source); up && is_reshape(*up);
       up = graph.producer(source)) {
    replaced.push_back(graph.value(source).producer);
    source = up->inputs[0];
  }
  if (replaced.size() == 1 && outer.is("Reshape")) return false;
  const ir::ValueId out = outer.outputs[0];
  const auto target = reshape_target(graph.value(source).shape, graph.value(out).shape);
  if (!target) return false;
  const ir::ValueId shape = add_ints(graph, graph.node(id).name + ".shape", *target);
  replace_with(graph, out, "Reshape", {source, shape}, {}, replaced);
  return true;
}

}  // namespace

size_t merge_views(ir::Graph& graph) {
  size_t changes = 0;
  for (ir::NodeId id : graph.topological_order()) {
    const ir::Node& node = graph.node(id);
    if (node.is("Transpose"))
      changes += merge_transposes(graph, id);
    else if (node.op && is_reshape(node))
      changes += merge_reshapes(graph, id);
  }
  return changes + graph.remove_dead();
}

}  // namespace vitrail::passes
