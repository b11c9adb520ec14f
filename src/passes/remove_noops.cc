// SPDX-License-Identifier: Apache-2.0
// Identity(x), Dropout(x), Cast(x) to its own type, Reshape/Expand/Slice/... that change nothing,
// Transpose that moves only extents of 1 or none   =>   x
#include <algorithm>

#include "passes/match.h"
#include "passes/passes.h"

namespace vitrail::passes {
namespace {

bool moves_nothing(const ir::Graph& graph, const ir::Node& node) {
  std::vector<int64_t> perm = transpose_perm(graph, node);
  const Shape& shape = graph.value(node.inputs[0]).shape;
  std::erase_if(perm, [&](int64_t axis) { return shape[static_cast<size_t>(axis)].is(1); });
  return std::is_sorted(perm.begin(), perm.end());
}

bool adds_zero_pads(const ir::Graph& graph, const ir::Node& node) {
  const auto pads = graph.ints(node.inputs[1]);
  return pads && std::all_of(pads->begin(), pads->end(), [](const Expr& p) { return p.is(0); });
}

bool is_noop(const ir::Graph& graph, const ir::Node& node) {
  if (node.inputs.empty() || !node.inputs[0].valid() || node.outputs.empty() ||
      !node.outputs[0].valid())
    return false;
  const ir::Value &in = graph.value(node.inputs[0]), &out = graph.value(node.outputs[0]);
  if (in.dtype != out.dtype || in.shape != out.shape) return false;
  if (node.is("Identity") || is_reshape(node) || node.is("Expand") || node.is("Cast") ||
      node.is("CastLike"))
    return true;
  if (node.is("Dropout")) return node.outputs.size() < 2 || !node.outputs[1].valid();
  if (node.is("Transpose")) return moves_nothing(graph, node);
  if (node.is("Concat") || node.is("Sum") || node.is("Max") || node.is("Min") || node.is("Mean"))
    return node.inputs.size() == 1;
  if (node.is("Split")) return node.outputs.size() == 1;
  if (node.is("Pad")) return adds_zero_pads(graph, node);
  if (node.is("Slice")) {  // equal extents and forward steps: the whole
    const auto steps = node.inputs.size() > 4 && node.inputs[4].valid() ? graph.ints(node.inputs[4])
                                                                        : std::vector<Expr>{};
    return steps &&
           std::all_of(steps->begin(), steps->end(), [](const Expr& s) { return s.is(1); });
  }
  if (node.is("Mul") || node.is("Div") || node.is("Add") || node.is("Sub")) {
    const double neutral = node.is("Mul") || node.is("Div") ? 1 : 0;
    return scalar_constant(graph, node.inputs[1]) == neutral;
  }
  return false;
}

}  // namespace

size_t remove_noops(ir::Graph& graph) {
  size_t changes = 0;
  for (ir::NodeId id : graph.topological_order()) {
    const ir::Node& node = graph.node(id);
    if (!node.op || !is_noop(graph, node)) continue;
    const ir::ValueId in = node.inputs[0], out = node.outputs[0];
    const bool taken = !graph.producer(in) || graph.is_output(in);
    if (graph.is_output(out) && taken) continue;  // an output needs a node and a name of its own
    graph.replace_uses(out, in);
    graph.remove_node(id);
    ++changes;
  }
  return changes + graph.remove_dead();
}

}  // namespace vitrail::passes
