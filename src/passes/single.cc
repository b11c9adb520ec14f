// SPDX-License-Identifier: Apache-2.0
#include "passes/single.h"

#include <algorithm>

namespace vitrail::passes {
namespace {

bool is_depthwise(const ir::Graph& graph, const ir::Node& node) {
  const Shape &x = graph.value(node.inputs[0]).shape, &w = graph.value(node.inputs[1]).shape;
  return x.size() == 4 && x[1].is_constant() && x[1].constant() > 1 &&
         x[1].is(node.attrs.integer("group", 1)) && w[0] == x[1];
}
bool is_pointwise_conv(const ir::Graph& graph, const ir::Node& node) {
  const Shape& w = graph.value(node.inputs[1]).shape;
  const auto all = [&](const char* name, int64_t wanted) {
    const auto list = node.attrs.integers(name, std::vector<int64_t>{});
    return std::all_of(list.begin(), list.end(), [&](int64_t v) { return v == wanted; });
  };
  return w.size() == 4 && w[2].is(1) && w[3].is(1) && node.attrs.integer("group", 1) == 1 &&
         all("strides", 1) && all("pads", 0);
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
    return is_depthwise(graph, node)        ? "depthwise"
           : is_pointwise_conv(graph, node) ? "gemm"
                                            : "conv";
  }
  if (op == "ConvTranspose")
    return graph.value(node.inputs[0]).rank() == 4 ? "conv_transpose" : nullptr;
  if (op == "LayerNormalization") return "layernorm";
  if (op == "Softmax") return "softmax";
  if (op == "Pad") return "pad";
  if (op == "ReduceSum" || op == "ReduceMean" || op == "ReduceMax" || op == "ReduceMin" ||
      op == "ReduceL2" || op == "ReduceSumSquare" || op == "ReduceProd" ||
      op == "GlobalAveragePool")
    return "reduce";
  if (node.op->traits.pointwise || op == "Clip" || op == "Gelu" || op == "Swish" ||
      op == "LeakyRelu") {
    for (ir::ValueId in : node.inputs)
      if (in.valid() && graph.value(in).dtype != DType::f32) return nullptr;
    return "pointwise";
  }
  return nullptr;
}

}  // namespace vitrail::passes
