// SPDX-License-Identifier: Apache-2.0
// MatMul(Softmax(scale * MatMul(q, k^T) [+ mask]), v)   =>   fusion "attention"(q, k^T, v[, mask])
//
// The scale is a Mul or Div by a scalar after the first product; the mask an Add after that. A
// Transpose that makes k^T stays outside: it is a view, and the family reads keys by strides.
// (Vaswani et al. 2017, arXiv 1706.03762, section 3.2.1.) Near misses that must stay: a softmax
// over another axis than the last, scores read elsewhere, a product with the softmax on the right.
#include "passes/match.h"
#include "passes/passes.h"

namespace vitrail::passes {

size_t fuse_attention(ir::Graph& graph) {
  size_t changes = 0;
  for (ir::NodeId id : graph.topological_order()) {
    const ir::Node& node = graph.node(id);
    if (!node.is("Softmax") || graph.value(node.outputs[0]).dtype != DType::f32) continue;
    const Matcher match(graph);
    const size_t rank = graph.value(node.inputs[0]).rank();
    if (normalize_axis(node.attrs.integer("axis", -1), rank, "axis") != static_cast<int64_t>(rank) - 1) continue;
    const ir::NodeId second = match.only_reader(node.outputs[0]);
    if (!second.valid() || !graph.node(second).is("MatMul") || graph.node(second).inputs[0] != node.outputs[0]) continue;
    if (graph.value(graph.node(second).inputs[1]).is_constant()) continue;
    std::vector<ir::NodeId> members = {second, id};
    ir::ValueId at = node.inputs[0];
    const ir::Node* up = graph.producer(at);
    bool masked = false, matched = false;
    for (int depth = 0; depth < 4 && up && match.only_reader(at).valid(); ++depth) {
      members.push_back(graph.value(at).producer);
      if (up->is("MatMul")) {
        matched = !graph.value(up->inputs[1]).is_constant();
        break;
      }
      const bool scales = (up->is("Mul") || up->is("Div")) && match.scalar(up->inputs[1]);
      const bool masks = up->is("Add") && !masked;
      if (!scales && !masks) break;
      masked |= masks;
      at = up->inputs[0];
      up = graph.producer(at);
    }
    if (!matched) continue;
    ir::outline(graph, members, "attention");
    ++changes;
  }
  return changes;
}

}  // namespace vitrail::passes
