// SPDX-License-Identifier: Apache-2.0
// Add(MatMul(x, W), bias), Gelu, Add(residual)   =>   fusion "gemm"(x, W, bias, residual)
//
// Each anchor (a node that a kernel family takes) absorbs the elementwise nodes after it, as long
// as each is the only reader of the value before, keeps its shape, and its other operands exist
// before the anchor runs. Near misses that must stay: a value read twice, a result that broadcasts
// to a larger shape.
#include <algorithm>
#include <string_view>

#include "passes/match.h"
#include "passes/passes.h"
#include "passes/single.h"

namespace vitrail::passes {
namespace {

bool is_pointwise(const ir::Graph& graph, const ir::Node& node) {
  const char* family = single_family(graph, node);
  return family && std::string_view(family) == "pointwise";
}

}  // namespace

size_t fuse_epilogue(ir::Graph& graph) {
  size_t changes = 0;
  // Made once: a reader that has gone into a fusion since then is dead, and no more pointwise than
  // the fusion is.
  std::optional<Matcher> match(graph);
  for (ir::NodeId anchor : graph.topological_order()) {
    if (!graph.node(anchor).alive) continue;
    const ir::Node& node = graph.node(anchor);
    std::string family;
    if (node.is_fusion()) {
      if (node.outputs.size() != 1 || node.family != "attention") continue;
      family = node.family;
    } else {
      const char* single = single_family(graph, node);
      if (!single || std::string_view(single) == "pointwise") continue;
      family = single;
    }
    std::vector<ir::NodeId> members = {anchor};
    ir::ValueId at = graph.node(anchor).outputs[0];
    const Shape shape = graph.value(at).shape;
    for (;;) {
      const ir::NodeId reader = match->only_reader(at);
      if (!reader.valid() || !graph.node(reader).alive || !is_pointwise(graph, graph.node(reader)))
        break;
      const ir::Node& next = graph.node(reader);
      if (graph.value(next.outputs[0]).shape != shape) break;
      if (std::count(next.inputs.begin(), next.inputs.end(), at) != 1) break;
      members.push_back(reader);
      at = next.outputs[0];
    }
    if (members.size() == 1) continue;
    if (graph.node(anchor).is_fusion()) {
      // The attention's own nodes come out, then all go into one body.
      const std::string name = graph.node(anchor).name;
      const size_t slots = graph.node_slots();
      ir::dissolve(graph, anchor);
      members.erase(members.begin());
      for (uint32_t i = static_cast<uint32_t>(slots); i < graph.node_slots(); ++i)
        members.push_back({i});
      ir::outline(graph, members, family, name);
      match.emplace(graph);
    } else {
      ir::outline(graph, members, family);
    }
    ++changes;
  }
  return changes;
}

}  // namespace vitrail::passes
