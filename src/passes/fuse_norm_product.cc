// SPDX-License-Identifier: Apache-2.0
// LayerNormalization(x, s, t) -> MatMul by a matrix W [-> Add(bias), Gelu, ...]
//     =>   fusion "gemm"(x, s, t, W, bias, ...)
//
// For plans of GPUs, where a small step costs its launch and a large one a way through memory. The
// scale and shift are folded into the weights when the fusion is lowered:
// (norm(x) * s + t) W = norm(x) (s W) + t W, exact in real arithmetic.
//
// Runs on what fuse_epilogue has made: the body holds its fusion, so that dissolving this one gives
// back exactly the graph without it. Near misses that must stay: a normalized value that two
// products or a residual read or that is an output, a norm over several axes, one whose mean or
// deviation is read, a norm on the right side of the product, scale, shift or W that are no
// constants, a W of rank 3.
#include <algorithm>

#include "passes/match.h"
#include "passes/passes.h"

namespace vitrail::passes {
namespace {

bool is_constant_row(const ir::Graph& graph, ir::ValueId v, const Expr& columns) {
  const ir::Value& value = graph.value(v);
  return value.is_constant() && value.dtype == DType::f32 && value.shape == Shape{columns};
}

bool normalizes_rows(const ir::Graph& graph, const ir::Node& norm) {
  const Shape& x = graph.value(norm.inputs[0]).shape;
  if (x.size() < 2 || !x.back().is_constant() || graph.value(norm.inputs[0]).dtype != DType::f32 ||
      normalize_axis(norm.attrs.integer("axis", -1), x.size(), "axis") !=
          static_cast<int64_t>(x.size()) - 1)
    return false;
  for (size_t i = 1; i < norm.inputs.size(); ++i)
    if (norm.inputs[i].valid() && !is_constant_row(graph, norm.inputs[i], x.back())) return false;
  for (size_t i = 1; i < norm.outputs.size(); ++i)
    if (norm.outputs[i].valid()) return false;
  return true;
}

// MatMul(v, constant matrix), alone or as the anchor of a fusion that reads v there only.
bool multiplies(const ir::Graph& graph, const ir::Node& node, ir::ValueId v) {
  const ir::Graph* body = nullptr;
  const ir::Node* product = &node;
  if (node.is_fusion()) {
    if (node.family != "gemm" || node.bodies.size() != 1 || node.outputs.size() != 1) return false;
    body = node.bodies[0].get();
    product = &body->node(body->topological_order()[0]);
  }
  if (!product->is("MatMul")) return false;
  const auto outer = [&](ir::ValueId inner) {
    if (!body) return inner;
    const auto at = std::find(body->inputs.begin(), body->inputs.end(), inner);
    return at == body->inputs.end() ? ir::kNoValue
                                    : node.inputs[static_cast<size_t>(at - body->inputs.begin())];
  };
  if (outer(product->inputs[0]) != v || std::count(node.inputs.begin(), node.inputs.end(), v) != 1)
    return false;
  if (body) {
    const auto users = body->users();
    if (users[product->inputs[0].index].size() != 1) return false;
  }
  const ir::ValueId weight = outer(product->inputs[1]);
  return weight.valid() && graph.value(weight).is_constant() &&
         graph.value(weight).dtype == DType::f32 && graph.value(weight).rank() == 2;
}

}  // namespace

size_t fuse_norm_product(ir::Graph& graph) {
  size_t changes = 0;
  // Made once: a reader that has gone into a fusion is dead, and no product any more.
  const Matcher match(graph);
  for (ir::NodeId id : graph.topological_order()) {
    const ir::Node& norm = graph.node(id);
    if (!norm.alive || !norm.is("LayerNormalization") || !normalizes_rows(graph, norm)) continue;
    const ir::ValueId v = norm.outputs[0];
    const ir::NodeId reader = match.only_reader(v);
    if (!reader.valid() || !graph.node(reader).alive || !multiplies(graph, graph.node(reader), v))
      continue;
    ir::outline(graph, {id, reader}, "gemm");
    ++changes;
  }
  return changes;
}

}  // namespace vitrail::passes
