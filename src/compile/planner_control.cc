// SPDX-License-Identifier: Apache-2.0
// If and Loop: their bodies are laid out over the same buffers, reading outer values where they
// lie.
#include "compile/planner.h"

namespace vitrail {

LaidStep Planner::control_step(ir::NodeId id, const ir::Node& node, LaidStep::Kind kind) {
  LaidStep step;
  step.kind = kind;
  step.graph = &graph_;
  step.node = id;
  step.name = node.name;
  for (ir::ValueId out : node.outputs) {
    if (!out.valid()) continue;
    if (storage_[out.index].buffer < 0)
      place(out, fresh(out, best_order(out, ir::natural_order(graph_.value(out).rank()), -1)));
    step.outputs.push_back(of(out));
    step.output_values.push_back(out);
  }
  return step;
}

// Lets the producers of the body's outputs write where the results are wanted.
void Planner::aim_outputs(const std::vector<std::optional<ir::Storage>>& targets) {
  for (size_t i = 0; i < targets.size(); ++i) {
    if (!targets[i]) continue;
    const auto [owner, wanted] = owner_of(graph_.outputs[i], *targets[i]);
    if (wanted && may_write(owner, *wanted)) place(owner, *wanted);
  }
}

Planner::Body Planner::lay_out_body(ir::Graph& body, const std::vector<ir::Storage>& inputs,
                                    const std::vector<std::optional<ir::Storage>>& targets) {
  Planner inner(body, opt_, orders_, refused_, layout_, gpu_);
  inner.lower_fusions();
  if (!refused_.empty()) return {};
  for (size_t i = 0; i < inputs.size(); ++i) inner.place(body.inputs[i], inputs[i]);
  inner.aim_outputs(targets);
  inner.place_and_visit();
  Body out;
  for (size_t i = 0; i < body.outputs.size(); ++i) {
    const ir::ValueId v = body.outputs[i];
    ir::Storage s = inner.of(v);
    if (i < targets.size() && targets[i] && !(s == *targets[i])) {
      inner.emit_copy(v, s, *targets[i]);
      s = *targets[i];
    }
    out.outputs.push_back({v, s});
  }
  out.steps = std::move(inner.steps_);
  return out;
}

// Both branches leave an output in the same place. An output whose extents the branches disagree on
// is copied there when the branch has run, because its strides follow from the extents.
void Planner::visit_if(ir::NodeId id, const ir::Node& node) {
  LaidStep step = control_step(id, node, LaidStep::Kind::branch);
  step.inputs = {of(node.inputs[0])};
  step.input_values = {node.inputs[0]};
  std::vector<ir::Storage> inputs;
  for (size_t i = 1; i < node.inputs.size(); ++i) inputs.push_back(of(node.inputs[i]));
  std::vector<std::optional<ir::Storage>> targets;
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    const ir::ValueId out = node.outputs[i];
    bool same = out.valid();
    for (const auto& body : node.bodies)
      same = same && body->value(body->outputs[i]).shape == graph_.value(out).shape;
    targets.push_back(same ? std::optional(of(out)) : std::nullopt);
  }
  for (const auto& body : node.bodies) {
    Body laid = lay_out_body(*body, inputs, targets);
    if (!refused_.empty()) return;
    std::vector<LaidValue> results;
    for (size_t i = 0; i < node.outputs.size(); ++i)
      if (node.outputs[i].valid()) results.push_back(targets[i] ? LaidValue{} : laid.outputs[i]);
    step.blocks.push_back(std::move(laid.steps));
    step.block_outputs.push_back(std::move(results));
  }
  steps_.push_back(std::move(step));
}

// Carried values have memory of their own inside the body: the runtime hands them over between
// rounds.
void Planner::visit_loop(ir::NodeId id, const ir::Node& node) {
  LaidStep step = control_step(id, node, LaidStep::Kind::loop);
  require(step.outputs.size() == node.outputs.size(), Code::internal,
          "Loop '{}' has absent outputs", printable(node.name));
  const auto carried = static_cast<size_t>(node.attrs.integer("carried"));
  ir::Graph& body = *node.bodies[0];
  const auto users = body.users();
  std::vector<LaidValue> block_inputs;
  std::vector<ir::Storage> inputs;
  for (size_t i = 0; i < body.inputs.size(); ++i) {
    const ir::ValueId outer = i < node.inputs.size() ? node.inputs[i] : ir::kNoValue,
                      v = body.inputs[i];
    if (i < 2 + carried) {
      step.inputs.push_back(outer.valid() ? of(outer) : ir::Storage{});
      step.input_values.push_back(outer);
    }
    if (i >= 2 + carried) {  // captured: only read
      inputs.push_back(of(outer));
      continue;
    }
    // The round's number and the condition may be read by nothing.
    const bool read = i >= 2 || !users[v.index].empty() || body.is_output(v);
    const ir::Value& value = body.value(v);
    inputs.push_back(
        read ? ir::Storage{add_buffer(LaidBuffer::Kind::arena, value), 0, row_major(value.shape)}
             : ir::Storage{});
    block_inputs.push_back(read ? LaidValue{v, inputs.back()} : LaidValue{});
  }
  Body laid = lay_out_body(body, inputs, {});
  if (!refused_.empty()) return;
  step.blocks.push_back(std::move(laid.steps));
  step.block_inputs.push_back(std::move(block_inputs));
  step.block_outputs.push_back(std::move(laid.outputs));
  steps_.push_back(std::move(step));
}

}  // namespace vitrail
