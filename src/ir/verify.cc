// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <set>

#include "ir/graph.h"

namespace vitrail::ir {
namespace {

struct Verifier {
  const Graph& graph;
  const std::string& after;

  template <typename... Args>
  void check(bool ok, fmt::format_string<Args...> format, Args&&... args) const {
    if (!ok)
      fail(Code::internal, "graph '{}' is broken after {}: {}", printable(graph.name), after,
           fmt::format(format, std::forward<Args>(args)...));
  }

  void values() const {
    std::set<std::string> names;
    for (uint32_t i = 0; i < graph.value_count(); ++i) {
      const Value& value = graph.value({i});
      const Node* producer = graph.producer({i});
      const bool input =
          std::find(graph.inputs.begin(), graph.inputs.end(), ValueId{i}) != graph.inputs.end();
      if (!producer && !value.is_constant() && !input) continue;  // left behind by a dead node
      check(!value.name.empty() && names.insert(value.name).second,
            "value name '{}' is empty or used twice", printable(value.name));
      if (value.is_constant()) {
        check(!producer, "constant '{}' is also produced by '{}'", value.name,
              producer ? producer->name : "");
        check(
            value.constant.dtype() == value.dtype && to_shape(value.constant.dims()) == value.shape,
            "constant '{}' is {}{}, declared {}{}", value.name, name_of(value.constant.dtype()),
            to_string(value.constant.dims()), name_of(value.dtype), to_string(value.shape));
      }
      std::set<std::string> symbols;
      for (const Expr& d : value.shape) d.collect_symbols(symbols);
      for (const std::string& s : symbols)
        check(graph.symbols.contains(s), "value '{}' has the unknown symbol '{}'", value.name, s);
    }
  }

  void node(NodeId id) const {
    const Node& n = graph.node(id);
    check((n.op != nullptr) != n.is_fusion(), "node '{}' needs an op or a family, one of them",
          n.name);
    for (ValueId in : n.inputs) {
      if (!in.valid()) continue;
      check(in.index < graph.value_count(), "node '{}' reads value #{} of {}", n.name, in.index,
            graph.value_count());
      const Value& value = graph.value(in);
      const bool known =
          value.is_constant() || graph.producer(in) ||
          std::find(graph.inputs.begin(), graph.inputs.end(), in) != graph.inputs.end();
      check(known, "node '{}' reads '{}', which nothing produces", n.name, value.name);
    }
    for (ValueId out : n.outputs)
      if (out.valid())
        check(out.index < graph.value_count() && graph.value(out).producer == id,
              "node '{}' is not the producer of its output", n.name);
    if (n.op)
      for (const AttrSpec& spec : n.op->attrs)
        check(!spec.required || n.attrs.has(spec.name), "node '{}' lacks attribute '{}'", n.name,
              spec.name);
    if (n.is_fusion()) check(!n.bodies.empty(), "fusion '{}' has no body", n.name);
    const size_t first = n.is("If") ? 1 : 0;  // the condition is for the node alone
    for (const auto& body : n.bodies) {
      if (n.is_fusion())
        bindings(n, *body);
      else
        check(body->inputs.size() + first == n.inputs.size(), "node '{}' has {} inputs, a body {}",
              n.name, n.inputs.size(), body->inputs.size());
      Verifier{*body, after}.all();
    }
  }

  // A fusion's body has its inputs and outputs, one for one.
  void bindings(const Node& n, const Graph& body) const {
    check(body.inputs.size() == n.inputs.size() && body.outputs.size() == n.outputs.size(),
          "fusion '{}' has {} inputs and {} outputs, its body {} and {}", n.name, n.inputs.size(),
          n.outputs.size(), body.inputs.size(), body.outputs.size());
    const auto same = [&](ValueId outer, ValueId inner) {
      const Value &a = graph.value(outer), &b = body.value(inner);
      check(a.dtype == b.dtype && a.shape == b.shape, "fusion '{}': '{}' is {}{}, in its body {}{}",
            n.name, a.name, name_of(a.dtype), to_string(a.shape), name_of(b.dtype),
            to_string(b.shape));
    };
    for (size_t i = 0; i < n.inputs.size(); ++i)
      if (n.inputs[i].valid()) same(n.inputs[i], body.inputs[i]);
    for (size_t i = 0; i < n.outputs.size(); ++i) same(n.outputs[i], body.outputs[i]);
  }

  void all() const {
    values();
    std::set<std::string> names;
    for (NodeId id : graph.topological_order()) {
      check(names.insert(graph.node(id).name).second, "node name '{}' is used twice",
            graph.node(id).name);
      node(id);
    }
    for (ValueId out : graph.outputs) {
      check(out.valid() && out.index < graph.value_count(), "an output is missing");
      const bool known =
          graph.value(out).is_constant() || graph.producer(out) ||
          std::find(graph.inputs.begin(), graph.inputs.end(), out) != graph.inputs.end();
      check(known, "output '{}' is not produced", graph.value(out).name);
    }
  }
};

}  // namespace

void verify(const Graph& graph, const std::string& after) { Verifier{graph, after}.all(); }

}  // namespace vitrail::ir
