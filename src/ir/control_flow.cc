// SPDX-License-Identifier: Apache-2.0
// Shapes of If and Loop: those of their bodies.
#include "ir/control_flow.h"

namespace vitrail::ir {
namespace {

// Body input `first_body + i` is node input `first + i`.
void bind_inputs(const InferContext& ctx, Graph& body, size_t first, size_t first_body, size_t without_content) {
  require(body.inputs.size() - first_body == ctx.inputs.size() - first, Code::internal,
          "body '{}' has {} inputs, the node {}", printable(body.name), body.inputs.size(), ctx.inputs.size());
  for (size_t i = first; i < ctx.inputs.size(); ++i) {
    if (!ctx.has(i)) continue;
    Value& value = body.value(body.inputs[first_body + i - first]);
    value.dtype = ctx.in(i).dtype;
    value.shape = ctx.in(i).shape;
    value.content = i < without_content ? std::nullopt : ctx.in(i).ints();
  }
}

void run_body(Graph& graph, Graph& body, InferContext& ctx) {
  for (const auto& [symbol, info] : graph.symbols) body.symbols.try_emplace(symbol, info);
  body.infer_all();
  for (const auto& [symbol, info] : body.symbols) graph.symbols.try_emplace(symbol, info);
  ctx.equalities.insert(ctx.equalities.end(), body.guards.begin(), body.guards.end());
  ctx.warnings.insert(ctx.warnings.end(), body.warnings.begin(), body.warnings.end());
}

// The truth of a condition, where it is known.
std::optional<bool> known(const ValueInfo& condition) {
  if (condition.constant && condition.constant->size() == 1) return condition.constant->int_at(0) != 0;
  if (condition.content && condition.content->size() == 1 && (*condition.content)[0].is_constant())
    return !(*condition.content)[0].is(0);
  return {};
}

void infer_if(Graph& graph, const Node& node, InferContext& ctx) {
  require(node.bodies.size() == 2, Code::internal, "an If has {} bodies", node.bodies.size());
  require(ctx.in(0).dtype == DType::boolean, Code::bad_input, "the condition is {}, expected bool", name_of(ctx.in(0).dtype));
  for (const auto& body : node.bodies) {
    require(body->outputs.size() == node.outputs.size(), Code::internal, "a branch has {} outputs, the node {}",
            body->outputs.size(), node.outputs.size());
    bind_inputs(ctx, *body, 1, 0, 0);
    run_body(graph, *body, ctx);
  }
  const std::optional<bool> condition = known(ctx.in(0));
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    const Value &yes = node.bodies[0]->value(node.bodies[0]->outputs[i]), &no = node.bodies[1]->value(node.bodies[1]->outputs[i]);
    ValueInfo& out = ctx.out(i);
    require(yes.dtype == no.dtype, Code::bad_input, "output {} is {} in one branch and {} in the other", i,
            name_of(yes.dtype), name_of(no.dtype));
    out.dtype = yes.dtype;
    if (condition) {
      out.shape = *condition ? yes.shape : no.shape;
      continue;
    }
    require(yes.shape.size() == no.shape.size(), Code::unsupported, "output {} has shape {} in one branch and {} in the other",
            i, to_string(yes.shape), to_string(no.shape));
    for (size_t d = 0; d < yes.shape.size(); ++d)
      out.shape.push_back(yes.shape[d] == no.shape[d] ? yes.shape[d]
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
  require(body.outputs.size() == node.outputs.size() + 1 && carried <= node.outputs.size() && ctx.inputs.size() >= 2 + carried,
          Code::internal, "the body has {} outputs, the node {}", body.outputs.size(), node.outputs.size());
  bind_inputs(ctx, body, 2, 2, 2 + carried);
  run_body(graph, body, ctx);
  const Value& next = body.value(body.outputs[0]);
  require(next.dtype == DType::boolean, Code::bad_input, "the body's condition is {}, expected bool", name_of(next.dtype));
  for (size_t i = 0; i < carried; ++i) {
    const Value &before = body.value(body.inputs[2 + i]), &after = body.value(body.outputs[1 + i]);
    require(before.dtype == after.dtype, Code::bad_input, "carried value '{}' is {} before and {} after an iteration",
            printable(before.name), name_of(before.dtype), name_of(after.dtype));
    require(before.shape == after.shape, Code::unsupported, "carried value '{}' changes its shape from {} to {}",
            printable(before.name), to_string(before.shape), to_string(after.shape));
    ctx.out(i).dtype = after.dtype;
    ctx.out(i).shape = after.shape;
  }
  if (carried == node.outputs.size()) return;
  const auto trips = ctx.has(0) ? ctx.in(0).ints() : std::nullopt;
  const Expr most = trips && trips->size() == 1 ? max((*trips)[0], 0) : Expr(Interval::kUnbounded);
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

}  // namespace vitrail::ir
