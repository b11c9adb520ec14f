// SPDX-License-Identifier: Apache-2.0
// The order in which nodes are imported.
#include "import/onnx_scope.h"

namespace vitrail::onnx_import {
namespace {

// Names that a subgraph reads and does not define itself.
void collect_free_names(const onnx::GraphProto& graph, std::vector<const std::string*>& out) {
  std::unordered_set<std::string_view> own;
  for (const auto& info : graph.input()) own.insert(info.name());
  for (const auto& tensor : graph.initializer()) own.insert(tensor.name());
  for (const auto& sparse : graph.sparse_initializer()) own.insert(sparse.values().name());
  for (const auto& node : graph.node())
    for (const auto& name : node.output()) own.insert(name);
  const auto read = [&](const std::string& name) {
    if (!name.empty() && !own.contains(name)) out.push_back(&name);
  };
  for (const auto& node : graph.node()) {
    for (const auto& name : node.input()) read(name);
    for (const auto& attribute : node.attribute()) {
      std::vector<const std::string*> inner;
      if (attribute.has_g()) collect_free_names(attribute.g(), inner);
      for (const auto& g : attribute.graphs()) collect_free_names(g, inner);
      for (const std::string* name : inner) read(*name);
    }
  }
  for (const auto& info : graph.output()) read(info.name());
}

std::vector<const std::string*> names_read(const onnx::NodeProto& node) {
  std::vector<const std::string*> out;
  for (const auto& name : node.input())
    if (!name.empty()) out.push_back(&name);
  for (const auto& attribute : node.attribute()) {
    if (attribute.has_g()) collect_free_names(attribute.g(), out);
    for (const auto& g : attribute.graphs()) collect_free_names(g, out);
  }
  return out;
}

[[noreturn]] void fail_cycle(const Nodes& nodes, const std::vector<std::vector<int>>& before,
                             const std::vector<int>& waiting) {
  // Every waiting node has a waiting predecessor, so walking back must meet itself.
  int at = 0;
  while (waiting[static_cast<size_t>(at)] == 0) ++at;
  std::vector<int> path;
  std::set<int> seen;
  while (seen.insert(at).second) {
    path.push_back(at);
    for (int b : before[static_cast<size_t>(at)])
      if (waiting[static_cast<size_t>(b)] > 0) {
        at = b;
        break;
      }
  }
  std::string loop = shown(label(nodes[at], at));
  size_t listed = 0;
  for (size_t i = path.size(); i-- > 0;) {
    if (++listed > 12) {
      loop += " -> ...";
      break;
    }
    loop += " -> " + shown(label(nodes[path[i]], path[i]));
    if (path[i] == at) break;
  }
  fail(Code::bad_input, "the graph has a cycle: {}", loop);
}

}  // namespace

// ONNX wants nodes sorted; models that are not are sorted here, keeping the order where possible.
std::vector<int> Scope::order(const Nodes& nodes) {
  const auto count = static_cast<size_t>(nodes.size());
  std::unordered_map<std::string_view, int> producer;
  for (int i = 0; i < nodes.size(); ++i)
    for (const auto& name : nodes[i].output()) {
      if (name.empty()) continue;
      const auto [other, fresh] = producer.emplace(name, i);
      if (!fresh)
        fail(Code::bad_input, "value {} is produced by two nodes, {} and {}", shown(name),
             shown(label(nodes[other->second], other->second)), shown(label(nodes[i], i)));
      if (values_.contains(name))
        fail(Code::bad_input, "value {} is produced by node {} and is an input or initializer too",
             shown(name), shown(label(nodes[i], i)));
    }
  std::vector<std::vector<int>> before(count), after(count);
  std::vector<int> waiting(count, 0), out;
  std::set<int> ready;
  for (int i = 0; i < nodes.size(); ++i) {
    for (const std::string* name : names_read(nodes[i])) {
      const auto found = producer.find(*name);
      if (found == producer.end()) {
        if (!visible(*name))
          fail(Code::bad_input, "node {} ({}) reads {}, which nothing defines",
               shown(label(nodes[i], i)), printable(nodes[i].op_type()), shown(*name));
        continue;
      }
      used_.insert(found->first);
      before[static_cast<size_t>(i)].push_back(found->second);
      after[static_cast<size_t>(found->second)].push_back(i);
      ++waiting[static_cast<size_t>(i)];
    }
    if (waiting[static_cast<size_t>(i)] == 0) ready.insert(i);
  }
  while (!ready.empty()) {
    const int i = *ready.begin();
    ready.erase(ready.begin());
    out.push_back(i);
    for (int next : after[static_cast<size_t>(i)])
      if (--waiting[static_cast<size_t>(next)] == 0) ready.insert(next);
  }
  if (out.size() != count) fail_cycle(nodes, before, waiting);
  return out;
}

void Scope::add_nodes(Nodes& nodes, const std::vector<std::string_view>& results) {
  const std::vector<int> sorted = order(nodes);
  used_.insert(results.begin(), results.end());
  for (int i : sorted) add_node(*nodes.Mutable(i), i);
}

}  // namespace vitrail::onnx_import
