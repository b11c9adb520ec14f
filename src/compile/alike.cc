// SPDX-License-Identifier: Apache-2.0
#include "compile/alike.h"

#include <algorithm>

namespace vitrail {
namespace {

bool alike(const ir::Graph& a, const ir::Graph& b);

bool alike(const ir::Value& a, const ir::Value& b) {
  // The elements of whole numbers are axes and extents.
  const auto numbers = [](const ir::Value& v) { return v.is_constant() && !is_float(v.dtype); };
  if (numbers(a) && numbers(b) && a.constant.dims() == b.constant.dims())
    for (int64_t i = 0; i < a.constant.size(); ++i)
      if (a.constant.int_at(i) != b.constant.int_at(i)) return false;
  return a.dtype == b.dtype && a.shape == b.shape && a.is_constant() == b.is_constant();
}

bool alike(const ir::Graph& ga, const ir::Node& a, const ir::Graph& gb, const ir::Node& b) {
  if (a.op != b.op || a.family != b.family || !(a.attrs == b.attrs) ||
      a.bodies.size() != b.bodies.size())
    return false;
  const auto lists = [&](const std::vector<ir::ValueId>& x, const std::vector<ir::ValueId>& y) {
    return x.size() == y.size() &&
           std::equal(x.begin(), x.end(), y.begin(), [&](ir::ValueId u, ir::ValueId v) {
             return u.valid() == v.valid() && (!u.valid() || alike(ga.value(u), gb.value(v)));
           });
  };
  if (!lists(a.inputs, b.inputs) || !lists(a.outputs, b.outputs)) return false;
  for (size_t i = 0; i < a.bodies.size(); ++i)
    if (!alike(*a.bodies[i], *b.bodies[i])) return false;
  return true;
}

// Bodies that passes made in the same way have their nodes in the same order.
bool alike(const ir::Graph& a, const ir::Graph& b) {
  const auto order_a = a.topological_order(), order_b = b.topological_order();
  if (order_a.size() != order_b.size() || a.inputs.size() != b.inputs.size()) return false;
  std::map<ir::ValueId, ir::ValueId> same;
  for (size_t i = 0; i < a.inputs.size(); ++i) same[a.inputs[i]] = b.inputs[i];
  for (size_t i = 0; i < order_a.size(); ++i) {
    const ir::Node &x = a.node(order_a[i]), &y = b.node(order_b[i]);
    if (!alike(a, x, b, y)) return false;
    for (size_t k = 0; k < x.inputs.size(); ++k)
      if (const auto at = same.find(x.inputs[k]); at != same.end() && at->second != y.inputs[k])
        return false;
    for (size_t k = 0; k < x.outputs.size(); ++k) same[x.outputs[k]] = y.outputs[k];
  }
  return true;
}

}  // namespace

bool alike(const ir::Graph& graph, ir::NodeId a, ir::NodeId b) {
  return alike(graph, graph.node(a), graph, graph.node(b));
}

}  // namespace vitrail
