// SPDX-License-Identifier: Apache-2.0
// Relu(Add(Mul(x, a), b))   =>   fusion "pointwise"(x, a, b)
//
// Chains of elementwise nodes of one result shape become one pass over memory. A node joins the
// group of its reader when that reader is its only one and has the same result shape.
#include <string_view>

#include "passes/match.h"
#include "passes/passes.h"
#include "passes/single.h"

namespace vitrail::passes {

size_t fuse_pointwise(ir::Graph& graph) {
  constexpr size_t kMost = 24;  // registers of one program stay in the cache tile
  size_t changes = 0;
  const auto order = graph.topological_order();
  const Matcher match(graph);  // what went into a fusion since then counts as another reader
  for (size_t i = order.size(); i-- > 0;) {
    const ir::NodeId last = order[i];
    if (!graph.node(last).alive) continue;
    const auto takes = [&](ir::NodeId id) {
      const char* family = graph.node(id).alive && graph.node(id).op
                               ? single_family(graph, graph.node(id))
                               : nullptr;
      return family && std::string_view(family) == "pointwise";
    };
    if (!takes(last)) continue;
    const Shape shape = graph.value(graph.node(last).outputs[0]).shape;
    std::vector<ir::NodeId> members = {last};
    for (size_t m = 0; m < members.size() && members.size() < kMost; ++m)
      for (ir::ValueId in : graph.node(members[m]).inputs) {
        if (!in.valid() || graph.value(in).shape != shape) continue;
        const ir::NodeId up = graph.value(in).producer;
        if (!up.valid() || !graph.producer(in) || !takes(up) || !match.only_reader(in).valid())
          continue;
        if (members.size() < kMost) members.push_back(up);
      }
    if (members.size() < 2) continue;
    ir::outline(graph, members, "pointwise");
    ++changes;
  }
  return changes;
}

}  // namespace vitrail::passes
