// SPDX-License-Identifier: Apache-2.0
// Shapes of If and Loop: those of their bodies.
#include "ir/control_flow.h"

#include <algorithm>
#include <set>

namespace vitrail::ir {
namespace {

// Body input `first_body + i` is node input `first + i`.
void bind_inputs(const InferContext& ctx, Graph& body, size_t first, size_t first_body,
                 size_t without_content) {
  require(body.inputs.size() - first_body == ctx.inputs.size() - first, Code::internal,
          "body '{}' has {} inputs, the node {}", printable(body.name), body.inputs.size(),
          ctx.inputs.size());
  for (size_t i = first; i < ctx.inputs.size(); ++i) {
    if (!ctx.has(i)) continue;
    Value& value = body.value(body.inputs[first_body + i - first]);
    value.dtype = ctx.in(i).dtype;
    value.shape = ctx.in(i).shape;
    value.content = i < without_content ? std::nullopt : ctx.in(i).ints();
  }
}

// Guards stay with the body: they need to hold only where it runs.
void run_body(Graph& graph, Graph& body, InferContext& ctx) {
  for (const auto& [symbol, info] : graph.symbols)
    body.symbols.insert_or_assign(symbol, info);  // ranges may be narrower now
  body.infer_all();
  for (const auto& [symbol, info] : body.symbols) graph.symbols.try_emplace(symbol, info);
  ctx.warnings.insert(ctx.warnings.end(), body.warnings.begin(), body.warnings.end());
}

// The truth of a condition, where it is known.
std::optional<bool> known(const ValueInfo& condition) {
  if (condition.constant && condition.constant->size() == 1)
    return condition.constant->int_at(0) != 0;
  if (condition.content && condition.content->size() == 1 && (*condition.content)[0].is_constant())
    return !(*condition.content)[0].is(0);
  return {};
}

void infer_if(Graph& graph, const Node& node, InferContext& ctx) {
  require(node.bodies.size() == 2, Code::internal, "an If has {} bodies", node.bodies.size());
  require(ctx.in(0).dtype == DType::boolean, Code::bad_input, "the condition is {}, expected bool",
          name_of(ctx.in(0).dtype));
  for (const auto& body : node.bodies) {
    require(body->outputs.size() == node.outputs.size(), Code::internal,
            "a branch has {} outputs, the node {}", body->outputs.size(), node.outputs.size());
    bind_inputs(ctx, *body, 1, 0, 0);
    run_body(graph, *body, ctx);
  }
  const std::optional<bool> condition = known(ctx.in(0));
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    const Value &yes = node.bodies[0]->value(node.bodies[0]->outputs[i]),
                &no = node.bodies[1]->value(node.bodies[1]->outputs[i]);
    ValueInfo& out = ctx.out(i);
    require(yes.dtype == no.dtype, Code::bad_input,
            "output {} is {} in one branch and {} in the other", i, name_of(yes.dtype),
            name_of(no.dtype));
    out.dtype = yes.dtype;
    if (condition) {
      out.shape = *condition ? yes.shape : no.shape;
      continue;
    }
    require(yes.shape.size() == no.shape.size(), Code::unsupported,
            "output {} has shape {} in one branch and {} in the other", i, to_string(yes.shape),
            to_string(no.shape));
    for (size_t d = 0; d < yes.shape.size(); ++d)
      out.shape.push_back(yes.shape[d] == no.shape[d]
                              ? yes.shape[d]
                              : ctx.data_symbol("extent", max(yes.shape[d], no.shape[d])));
  }
}

// Whether the body hands its condition on unchanged, so that only the trip count ends the loop.
bool always_goes_on(const Graph& body) {
  const ValueId out = body.outputs[0];
  if (out == body.inputs[1]) return true;
  const Value& value = body.value(out);
  if (value.is_constant()) return value.constant.size() == 1 && value.constant.int_at(0) != 0;
  const Node* producer = body.producer(out);
  return producer && producer->is("Identity") && producer->inputs[0] == body.inputs[1];
}

void infer_loop(Graph& graph, const Node& node, InferContext& ctx) {
  require(node.bodies.size() == 1, Code::internal, "a Loop has {} bodies", node.bodies.size());
  Graph& body = *node.bodies[0];
  const auto carried = static_cast<size_t>(node.attrs.integer("carried"));
  require(body.outputs.size() == node.outputs.size() + 1 && carried <= node.outputs.size() &&
              ctx.inputs.size() >= 2 + carried,
          Code::internal, "the body has {} outputs, the node {}", body.outputs.size(),
          node.outputs.size());
  bind_inputs(ctx, body, 2, 2, 2 + carried);
  run_body(graph, body, ctx);
  const Value& next = body.value(body.outputs[0]);
  require(next.dtype == DType::boolean, Code::bad_input,
          "the body's condition is {}, expected bool", name_of(next.dtype));
  for (size_t i = 0; i < carried; ++i) {
    const Value &before = body.value(body.inputs[2 + i]), &after = body.value(body.outputs[1 + i]);
    require(before.dtype == after.dtype, Code::bad_input,
            "carried value '{}' is {} before and {} after an iteration", printable(before.name),
            name_of(before.dtype), name_of(after.dtype));
    require(before.shape == after.shape, Code::unsupported,
            "carried value '{}' changes its shape from {} to {}", printable(before.name),
            to_string(before.shape), to_string(after.shape));
    ctx.out(i).dtype = after.dtype;
    ctx.out(i).shape = after.shape;
  }
  if (carried == node.outputs.size()) return;
  const auto trips = ctx.has(0) ? ctx.in(0).ints() : std::nullopt;
  Expr most = Interval::kUnbounded;
  if (trips && trips->size() == 1)
    most = (*trips)[0].bounds(ctx.ranges).low >= 0 ? (*trips)[0] : max((*trips)[0], 0);
  const bool starts = !ctx.has(1) || known(ctx.in(1)).value_or(false);
  const bool exact = trips && trips->size() == 1 && starts && always_goes_on(body);
  const Expr count = exact ? most : ctx.data_symbol("trips", most);
  for (size_t i = carried; i < node.outputs.size(); ++i) {
    const Value& slice = body.value(body.outputs[1 + i]);
    ctx.out(i).dtype = slice.dtype;
    ctx.out(i).shape = slice.shape;
    ctx.out(i).shape.insert(ctx.out(i).shape.begin(), count);
  }
}
}  // namespace

void infer_control_flow(Graph& graph, const Node& node, InferContext& ctx) {
  if (node.is("If")) return infer_if(graph, node, ctx);
  require(node.is("Loop"), Code::internal, "op {} has no bodies", node.type());
  infer_loop(graph, node, ctx);
}

std::map<std::string, SymbolWriter> symbol_writers(const Graph& graph) {
  std::set<std::string> known;
  for (ValueId in : graph.inputs) {
    for (const Expr& d : graph.value(in).shape) d.collect_symbols(known);
    if (graph.value(in).content)
      for (const Expr& e : *graph.value(in).content) e.collect_symbols(known);
  }
  std::map<std::string, SymbolWriter> out;
  for (NodeId id : graph.topological_order()) {
    const Node& node = graph.node(id);
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      if (!node.outputs[i].valid()) continue;
      const Shape& shape = graph.value(node.outputs[i]).shape;
      for (size_t axis = 0; axis < shape.size(); ++axis) {
        const std::string name = shape[axis].is_constant() ? "" : shape[axis].str();
        const auto symbol = graph.symbols.find(name);
        if (symbol != graph.symbols.end() && symbol->second.kind == SymbolKind::data &&
            !known.contains(name))
          out.try_emplace(name, SymbolWriter{id, i, axis});
      }
    }
  }
  return out;
}

namespace {
// Inputs of the node before those that its bodies capture, and the body input of the first
// captured.
struct Captures {
  size_t node, body;
};
Captures first_capture(const Node& node) {
  if (node.is("If")) return {1, 0};
  const auto first = static_cast<size_t>(2 + node.attrs.integer("carried"));
  return {first, first};
}

size_t own_constants(Graph& graph, NodeId id) {
  const Captures at = first_capture(graph.node(id));
  size_t changes = 0;
  for (auto& body : graph.node(id).bodies) {
    const auto users = body->users();
    for (size_t i = at.node; i < graph.node(id).inputs.size(); ++i) {
      const Value& outer = graph.value(graph.node(id).inputs[i]);
      const ValueId inner = body->inputs[at.body + i - at.node];
      if (!outer.is_constant() || (users[inner.index].empty() && !body->is_output(inner))) continue;
      body->replace_uses(inner, body->add_constant(outer.name, outer.constant));
      ++changes;
    }
  }
  return changes;
}

size_t drop_unread(Graph& graph, NodeId id) {
  Node& node = graph.node(id);
  const Captures at = first_capture(node);
  size_t changes = 0;
  for (size_t i = node.inputs.size(); i-- > at.node;) {
    const size_t b = at.body + i - at.node;
    const bool read = std::any_of(node.bodies.begin(), node.bodies.end(), [&](const auto& body) {
      const ValueId inner = body->inputs[b];
      return body->is_output(inner) || !body->users()[inner.index].empty();
    });
    if (read) continue;
    node.inputs.erase(node.inputs.begin() + static_cast<std::ptrdiff_t>(i));
    for (auto& body : node.bodies) {
      const ValueId inner = body->inputs[b];
      body->inputs.erase(body->inputs.begin() + static_cast<std::ptrdiff_t>(b));
      body->retire_value(inner);
    }
    ++changes;
  }
  return changes;
}

size_t complete_outputs(Graph& graph, NodeId id) {
  size_t changes = 0;
  for (size_t i = 0; i < graph.node(id).outputs.size(); ++i) {
    if (graph.node(id).outputs[i].valid()) continue;
    const ValueId made =
        graph.add_value(graph.node(id).name + "." + std::to_string(i), DType::f32, {});
    graph.value(made).producer = id;
    graph.node(id).outputs[i] = made;
    ++changes;
  }
  if (changes) graph.infer(id);
  return changes;
}

// An output that the branch only hands on, or that stands twice, needs a node of its own outside.
void separate_outputs(Graph& body) {
  std::set<ValueId> seen(body.inputs.begin(), body.inputs.end());
  for (ValueId& out : body.outputs) {
    if (!body.value(out).is_constant() && seen.insert(out).second) continue;
    const std::string name = body.value(out).name;
    out = body.op("Identity", {out}, {}, name);
  }
}

size_t take_known_branch(Graph& graph, NodeId id) {
  const Value& condition = graph.value(graph.node(id).inputs[0]);
  const std::optional<bool> taken =
      known({condition.dtype, condition.shape,
             condition.is_constant() ? &condition.constant : nullptr, condition.content});
  if (!taken) return 0;
  Node node = std::move(graph.node(id));
  graph.node(id).name = node.name;
  graph.remove_node(id);
  // A fusion of the branch, dissolved at once: it becomes the branch's nodes.
  Node fusion;
  fusion.family = "branch";
  fusion.name = node.name;
  fusion.inputs.assign(node.inputs.begin() + 1, node.inputs.end());
  fusion.bodies.push_back(std::move(node.bodies[*taken ? 0 : 1]));
  Graph& body = *fusion.bodies[0];
  separate_outputs(body);
  for (size_t i = node.outputs.size(); i-- > 0;) {
    if (node.outputs[i].valid()) continue;
    node.outputs.erase(node.outputs.begin() + static_cast<std::ptrdiff_t>(i));
    body.outputs.erase(body.outputs.begin() + static_cast<std::ptrdiff_t>(i));
  }
  // Extents on which the branches disagreed are those of this one, for all who read them.
  std::map<std::string, Expr, std::less<>> settled;
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    Value& value = graph.value(node.outputs[i]);
    const Shape& shape = body.value(body.outputs[i]).shape;
    for (size_t d = 0; d < shape.size() && shape.size() == value.shape.size(); ++d) {
      const auto symbol =
          graph.symbols.find(value.shape[d].is_constant() ? "" : value.shape[d].str());
      if (symbol != graph.symbols.end() && symbol->second.kind == SymbolKind::data &&
          !(shape[d] == value.shape[d]))
        settled.emplace(symbol->first, shape[d]);
    }
    value.shape = shape;
  }
  fusion.outputs = node.outputs;
  graph.guards.insert(graph.guards.end(), body.guards.begin(), body.guards.end());
  dissolve(graph, graph.add_raw_node(std::move(fusion)));
  substitute(graph, settled);
  return 1;
}
}  // namespace

size_t open_control_flow(Graph& graph) {
  size_t changes = 0;
  for (bool again = true; again;) {
    again = false;
    for (NodeId id : graph.topological_order()) {
      if (!graph.node(id).is("If") && !graph.node(id).is("Loop")) continue;
      if (graph.node(id).is("If") && take_known_branch(graph, id)) {
        ++changes;
        again = true;  // the branch may hold control flow itself
        break;
      }
      changes += own_constants(graph, id) + drop_unread(graph, id);
      if (graph.node(id).is("Loop")) changes += complete_outputs(graph, id);
    }
  }
  return changes;
}

}  // namespace vitrail::ir
