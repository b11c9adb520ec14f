// SPDX-License-Identifier: Apache-2.0
// MatMul(Softmax(scale * MatMul(q, k^T) [+ mask]), v)   =>   fusion "attention"(q, k^T, v[, mask])
//
// The scale is a Mul or Div by a scalar after the first product; the mask an Add after that. A
// scale on q or k (PyTorch puts its root on both) moves behind the product first. A Transpose that
// makes k^T stays outside: it is a view, and the family reads keys by strides. (Vaswani et al.
// 2017, arXiv 1706.03762, section 3.2.1.) Near misses that must stay: a softmax over another axis
// than the last, scores read elsewhere, a product with the softmax on the right, a mask larger than
// the scores.
#include <cmath>

#include "passes/match.h"
#include "passes/passes.h"

namespace vitrail::passes {
namespace {

struct Found {
  std::vector<ir::NodeId> members;
  ir::NodeId scores;  ///< the first product
};

// For Mul or Div of a value by a scalar that leaves its shape: the factor.
std::optional<double> factor_of(const ir::Graph& graph, const Matcher& match,
                                const ir::Node& node) {
  if (!node.is("Mul") && !node.is("Div")) return {};
  const auto number = match.scalar(node.inputs[1]);
  if (!number || graph.value(node.inputs[0]).shape != graph.value(node.outputs[0]).shape) return {};
  return node.is("Mul") ? *number : 1 / *number;
}

// From the softmax's input up to the product of two variables, over one mask and any scales.
bool climb(const ir::Graph& graph, const Matcher& match, ir::ValueId v, bool masked, int depth,
           Found& found) {
  const ir::Node* up = graph.producer(v);
  if (!up || depth > 4 || !match.only_reader(v).valid()) return false;
  found.members.push_back(graph.value(v).producer);
  if (up->is("MatMul")) {
    found.scores = graph.value(v).producer;
    if (!graph.value(up->inputs[1]).is_constant()) return true;
  } else if (factor_of(graph, match, *up)) {
    if (climb(graph, match, up->inputs[0], masked, depth + 1, found)) return true;
  } else if (up->is("Add") && !masked) {
    for (ir::ValueId scores : up->inputs)  // a mask that repeats the scores would make them larger
      if (graph.value(scores).shape == graph.value(v).shape &&
          climb(graph, match, scores, true, depth + 1, found))
        return true;
  }
  found.members.pop_back();
  return false;
}

std::optional<Found> match_at(const ir::Graph& graph, ir::NodeId softmax) {
  const ir::Node& node = graph.node(softmax);
  if (!node.is("Softmax") || graph.value(node.outputs[0]).dtype != DType::f32) return {};
  const Matcher match(graph);
  const size_t rank = graph.value(node.inputs[0]).rank();
  if (normalize_axis(node.attrs.integer("axis", -1), rank, "axis") !=
      static_cast<int64_t>(rank) - 1)
    return {};
  const ir::NodeId second = match.only_reader(node.outputs[0]);
  if (!second.valid() || !graph.node(second).is("MatMul") ||
      graph.node(second).inputs[0] != node.outputs[0])
    return {};
  if (graph.value(graph.node(second).inputs[1]).is_constant()) return {};
  Found found{{second, softmax}, {}};
  return climb(graph, match, node.inputs[0], false, 0, found) ? std::optional(found) : std::nullopt;
}

// Takes the scalar factors out of what leads to `v` through views; returns their product.
double take_scales(ir::Graph& graph, ir::ValueId v) {
  const Matcher match(graph);
  double factor = 1;
  for (int depth = 0; depth < 6; ++depth) {
    const ir::Node* up = graph.producer(v);
    if (!up || !up->op || !match.only_reader(v).valid()) break;
    if (const auto scale = factor_of(graph, match, *up);
        scale && std::isnormal(static_cast<float>(*scale))) {
      graph.replace_uses(v, up->inputs[0]);
      factor *= *scale;
    } else if (!up->is("Transpose") && !is_reshape(*up)) {
      break;
    }
    v = up->inputs[0];
  }
  return factor;
}

// MatMul(s * q, t * k)   =>   Mul(MatMul(q, k), s * t). Whether the product changed.
bool scale_scores(ir::Graph& graph, ir::NodeId product) {
  const double left = take_scales(graph, graph.node(product).inputs[0]),
               right = take_scales(graph, graph.node(product).inputs[1]);
  if (left == 1 && right == 1) return false;
  const ir::ValueId out = graph.node(product).outputs[0];
  const std::vector<ir::ValueId> in = graph.node(product).inputs;
  const ir::ValueId scores = add_like(graph, product, "MatMul", in);
  replace_with(graph, out, "Mul",
               {scores, add_scalar(graph, "scale", static_cast<float>(left * right))}, {},
               {product});
  graph.remove_node(product);
  return true;
}

}  // namespace

size_t fuse_attention(ir::Graph& graph) {
  size_t changes = 0;
  for (ir::NodeId id : graph.topological_order()) {
    auto found = match_at(graph, id);
    if (!found) continue;
    if (scale_scores(graph, found->scores)) found = match_at(graph, id);
    require(found.has_value(), Code::internal, "a scale in front of '{}' hid its attention",
            graph.node(id).name);
    ir::outline(graph, found->members, "attention");
    ++changes;
  }
  return changes + graph.remove_dead();
}

}  // namespace vitrail::passes
