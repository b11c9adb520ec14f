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
    {"attention", lower_attention}, {"conv", lower_conv},           {"conv_transpose", lower_conv_transpose},
    {"depthwise", lower_depthwise}, {"gemm", lower_gemm},           {"gram", lower_gram},
    {"layernorm", lower_layernorm}, {"pad", lower_pad},             {"pointwise", lower_pointwise},
    {"reduce", lower_reduce},       {"softmax", lower_softmax},     {"spectral", lower_spectral},
};

bool is_depthwise(const ir::Graph& graph, const ir::Node& node) {
  const Shape &x = graph.value(node.inputs[0]).shape, &w = graph.value(node.inputs[1]).shape;
  return x.size() == 4 && x[1].is_constant() && x[1].constant() > 1 && x[1].is(node.attrs.integer("group", 1)) &&
         w[0] == x[1];
}
bool is_pointwise_conv(const ir::Graph& graph, const ir::Node& node) {
  const Shape& w = graph.value(node.inputs[1]).shape;
  const auto all = [&](const char* name, int64_t wanted) {
    const auto list = node.attrs.integers(name, std::vector<int64_t>{});
    return std::all_of(list.begin(), list.end(), [&](int64_t v) { return v == wanted; });
  };
  return w.size() == 4 && w[2].is(1) && w[3].is(1) && node.attrs.integer("group", 1) == 1 && all("strides", 1) && all("pads", 0);
}
}  // namespace

const char* single_family(const ir::Graph& graph, const ir::Node& node) {
  if (!node.op || node.op->domain[0]) return nullptr;
  const auto f32_output = [&] { return graph.value(node.outputs[0]).dtype == DType::f32; };
  if (!f32_output()) return nullptr;
  const std::string_view op = node.op->name;
  if (op == "MatMul") return "gemm";
  if (op == "Conv") {
    if (graph.value(node.inputs[0]).rank() != 4) return nullptr;
    return is_depthwise(graph, node) ? "depthwise" : is_pointwise_conv(graph, node) ? "gemm" : "conv";
  }
  if (op == "ConvTranspose") return graph.value(node.inputs[0]).rank() == 4 ? "conv_transpose" : nullptr;
  if (op == "LayerNormalization") return "layernorm";
  if (op == "Softmax") return "softmax";
  if (op == "Pad") return "pad";
  if (op == "ReduceSum" || op == "ReduceMean" || op == "ReduceMax" || op == "ReduceMin" || op == "ReduceL2" ||
      op == "ReduceSumSquare" || op == "ReduceProd" || op == "GlobalAveragePool")
    return "reduce";
  if (node.op->traits.pointwise || op == "Clip" || op == "Gelu" || op == "Swish" || op == "LeakyRelu") {
    for (ir::ValueId in : node.inputs)
      if (in.valid() && graph.value(in).dtype != DType::f32) return nullptr;
    return "pointwise";
  }
  return nullptr;
}

std::optional<Lowered> lower(const ir::Graph& graph, const ir::Node& fusion, std::string* why) {
  const auto row = std::find_if(std::begin(kRows), std::end(kRows), [&](const Row& r) { return fusion.family == r.family; });
  if (row == std::end(kRows)) return *why = fmt::format("no lowering for family '{}'", fusion.family), std::nullopt;
  const ir::Graph& body = *fusion.bodies[0];
  BodyReader reader{graph, fusion, body, {}};
  for (ir::NodeId id : body.topological_order()) reader.nodes.push_back(&body.node(id));
  std::optional<Lowered> out = row->lower(reader, why);
  if (!out) return {};
  Problem& problem = out->problem;
  problem.family = fusion.family;
  for (const LoweredOperand& in : out->inputs) {
    const bool made = in.constant.defined();
    const ir::Value* value = made ? nullptr : &graph.value(fusion.inputs[static_cast<size_t>(in.io)]);
    problem.inputs.push_back({made ? in.constant.dtype() : value->dtype, in.dims, {}, made || value->is_constant()});
  }
  for (const LoweredOperand& o : out->outputs)
    problem.outputs.push_back({graph.value(fusion.outputs[static_cast<size_t>(o.io)]).dtype, o.dims, {}, false});
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
  LoweredOperand out{.io = reader.input_index(inner), .axes = {}, .dims = reader.value(inner).shape, .innermost = innermost};
  for (size_t i = 0; i < out.dims.size(); ++i) out.axes.push_back(static_cast<int>(i));
  return out;
}

const ir::Node* find_node(const BodyReader& reader, std::string_view op) {
  for (const ir::Node* node : reader.nodes)
    if (node->is(op)) return node;
  return nullptr;
}

}  // namespace vitrail
