// SPDX-License-Identifier: Apache-2.0
// Moving nodes into a fusion's body and back.
#include <algorithm>
#include <map>
#include <set>

#include "ir/graph.h"

namespace vitrail::ir {
namespace {

// Copies `node` into `body`, with values renamed through `map`; outputs are made on the way.
void copy_node(const Graph& from, const Node& node, Graph& to, std::map<ValueId, ValueId>& map) {
  Node copy;
  copy.name = node.name;
  copy.op = node.op;
  copy.family = node.family;
  copy.attrs = node.attrs;
  copy.sources = node.sources;
  for (const auto& body : node.bodies)
    copy.bodies.push_back(std::make_unique<Graph>(body->clone()));
  for (ValueId in : node.inputs) copy.inputs.push_back(in.valid() ? map.at(in) : kNoValue);
  for (ValueId out : node.outputs) {
    if (!out.valid()) {
      copy.outputs.push_back(kNoValue);
      continue;
    }
    const Value& value = from.value(out);
    const auto known = map.find(out);
    const ValueId made =
        known != map.end() ? known->second : to.add_value(value.name, value.dtype, value.shape);
    to.value(made).content = value.content;
    map[out] = made;
    copy.outputs.push_back(made);
  }
  to.add_raw_node(std::move(copy));
}

}  // namespace

NodeId outline(Graph& graph, const std::vector<NodeId>& members, std::string family,
               std::string name) {
  std::set<NodeId> inside(members.begin(), members.end());
  std::vector<NodeId> order;
  std::map<NodeId, size_t> position;
  for (NodeId id : graph.topological_order()) {
    position[id] = position.size();
    if (inside.contains(id)) order.push_back(id);
  }
  require(!order.empty() && order.size() == inside.size(), Code::internal,
          "outline: empty or dead members");

  // Convex: nothing outside lies between two members. Follow readers of members that are outside.
  const auto users = graph.users();
  std::set<NodeId> seen;
  std::vector<NodeId> work;
  const auto push_readers = [&](NodeId id, bool from_inside) {
    for (ValueId out : graph.node(id).outputs)
      if (out.valid())
        for (NodeId reader : users[out.index]) {
          const bool is_inside = inside.contains(reader);
          require(from_inside || !is_inside, Code::internal,
                  "outline: '{}' lies between members of '{}'", printable(graph.node(id).name),
                  family);
          if (!is_inside && position[reader] < position[order.back()] && seen.insert(reader).second)
            work.push_back(reader);
        }
  };
  for (NodeId id : order) push_readers(id, true);
  while (!work.empty()) {
    const NodeId id = work.back();
    work.pop_back();
    push_readers(id, false);
  }

  auto body = std::make_unique<Graph>();
  body->name = family;
  Node fusion;
  fusion.family = family;
  fusion.name = name.empty() ? graph.node(order.back()).name : std::move(name);
  std::map<ValueId, ValueId> map;
  std::set<ValueId> made;
  for (NodeId id : order)
    for (ValueId out : graph.node(id).outputs)
      if (out.valid()) made.insert(out);
  for (NodeId id : order)
    for (ValueId in : graph.node(id).inputs) {
      if (!in.valid() || made.contains(in) || map.contains(in)) continue;
      const Value& value = graph.value(in);
      const ValueId inner = body->add_value(value.name, value.dtype, value.shape);
      body->value(inner).content =
          graph.ints(in);  // of constants, too: the body's shape rules read them
      body->inputs.push_back(inner);
      fusion.inputs.push_back(in);
      map[in] = inner;
    }
  body->symbols = graph.symbols;
  for (NodeId id : order) {
    const Node& node = graph.node(id);
    copy_node(graph, node, *body, map);
    for (const std::string& source : node.sources)
      if (std::find(fusion.sources.begin(), fusion.sources.end(), source) == fusion.sources.end())
        fusion.sources.push_back(source);
  }
  for (NodeId id : order)
    for (ValueId out : graph.node(id).outputs) {
      if (!out.valid()) continue;
      const auto& readers = users[out.index];
      const bool read_outside =
          graph.is_output(out) || std::any_of(readers.begin(), readers.end(),
                                              [&](NodeId r) { return !inside.contains(r); });
      if (!read_outside) continue;
      body->outputs.push_back(map.at(out));
      fusion.outputs.push_back(out);
    }
  fusion.bodies.push_back(std::move(body));
  for (NodeId id : order) graph.remove_node(id);
  for (ValueId value : made)
    if (std::find(fusion.outputs.begin(), fusion.outputs.end(), value) == fusion.outputs.end())
      graph.retire_value(value);
  return graph.add_raw_node(std::move(fusion));
}

void dissolve(Graph& graph, NodeId id, size_t which) {
  Node fusion = std::move(graph.node(id));
  graph.node(id).name = fusion.name;
  graph.remove_node(id);
  require(which < fusion.bodies.size(), Code::internal, "dissolve: '{}' has no body {}",
          fusion.name, which);
  const Graph& body = *fusion.bodies[which];
  std::map<ValueId, ValueId> map;
  for (size_t i = 0; i < body.inputs.size(); ++i) map[body.inputs[i]] = fusion.inputs[i];
  for (uint32_t v = 0; v < body.value_count(); ++v)
    if (body.value({v}).is_constant())
      map[{v}] = graph.add_constant(body.value({v}).name, body.value({v}).constant);
  for (size_t i = 0; i < body.outputs.size(); ++i) {
    require(!map.contains(body.outputs[i]), Code::internal,
            "dissolve: an output of '{}' is its input", fusion.name);
    map[body.outputs[i]] = fusion.outputs[i];
  }
  for (const auto& [symbol, info] : body.symbols) graph.symbols.try_emplace(symbol, info);
  for (NodeId inner : body.topological_order()) copy_node(body, body.node(inner), graph, map);
}

}  // namespace vitrail::ir
