// SPDX-License-Identifier: Apache-2.0
#include "lower/lower.h"

#include <algorithm>

#include "lower/families.h"

namespace vitrail {
namespace {
struct Row {
  const char* family;
  std::optional<Lowered> (*lower)(const BodyReader&, std::string*);
};
constexpr Row kRows[] = {
    {"attention", lower_attention},
    {"conv", lower_conv},
    {"conv_transpose", lower_conv_transpose},
    {"depthwise", lower_depthwise},
    {"gemm", lower_gemm},
    {"gram", lower_gram},
    {"inverted", lower_inverted},
    {"layernorm", lower_layernorm},
    {"pad", lower_pad},
    {"pointwise", lower_pointwise},
    {"positional", lower_positional},
    {"reduce", lower_reduce},
    {"softmax", lower_softmax},
    {"spectral", lower_spectral},
};

bool has_fusions(const ir::Graph& graph) {
  for (ir::NodeId id : graph.topological_order())
    if (graph.node(id).is_fusion()) return true;
  return false;
}
ir::Graph flattened(const ir::Graph& body) {
  ir::Graph out = body.clone();
  while (has_fusions(out))
    for (ir::NodeId id : out.topological_order())
      if (out.node(id).is_fusion()) ir::dissolve(out, id);
  return out;
}

}  // namespace

std::optional<Lowered> lower(const ir::Graph& graph, const ir::Node& fusion, std::string* why) {
  const auto row = std::find_if(std::begin(kRows), std::end(kRows),
                                [&](const Row& r) { return fusion.family == r.family; });
  if (row == std::end(kRows))
    return *why = fmt::format("no lowering for family '{}'", fusion.family), std::nullopt;
  // A body of fusions is read by the nodes inside them.
  ir::Graph flat;
  const bool nested = has_fusions(*fusion.bodies[0]);
  if (nested) flat = flattened(*fusion.bodies[0]);
  const ir::Graph& body = nested ? flat : *fusion.bodies[0];
  BodyReader reader{graph, fusion, body, {}};
  for (ir::NodeId id : body.topological_order()) reader.nodes.push_back(&body.node(id));
  std::optional<Lowered> out = row->lower(reader, why);
  if (!out) return {};
  Problem& problem = out->problem;
  problem.family = fusion.family;
  for (const LoweredOperand& in : out->inputs) {
    const bool made = in.constant.defined();
    const ir::Value* value =
        made ? nullptr : &graph.value(fusion.inputs[static_cast<size_t>(in.io)]);
    problem.inputs.push_back(
        {made ? in.constant.dtype() : value->dtype, in.dims, {}, made || value->is_constant()});
  }
  for (const LoweredOperand& o : out->outputs)
    problem.outputs.push_back(
        {graph.value(fusion.outputs[static_cast<size_t>(o.io)]).dtype, o.dims, {}, false});
  return out;
}

int BodyReader::input_index(ir::ValueId inner) const {
  const auto found = std::find(body.inputs.begin(), body.inputs.end(), inner);
  return found == body.inputs.end() ? -1 : static_cast<int>(found - body.inputs.begin());
}

const Tensor* BodyReader::constant(ir::ValueId inner) const {
  if (body.value(inner).is_constant()) return &body.value(inner).constant;
  const int i = input_index(inner);
  if (i < 0) return nullptr;
  const ir::Value& outer = graph.value(fusion.inputs[static_cast<size_t>(i)]);
  return outer.is_constant() ? &outer.constant : nullptr;
}

LoweredOperand plain_operand(const BodyReader& reader, ir::ValueId inner, int innermost) {
  LoweredOperand out{.io = reader.input_index(inner),
                     .axes = {},
                     .dims = reader.value(inner).shape,
                     .innermost = innermost};
  for (size_t i = 0; i < out.dims.size(); ++i) out.axes.push_back(static_cast<int>(i));
  return out;
}

const ir::Node* find_node(const BodyReader& reader, std::string_view op) {
  for (const ir::Node* node : reader.nodes)
    if (node->is(op)) return node;
  return nullptr;
}

}  // namespace vitrail
