// SPDX-License-Identifier: Apache-2.0
// Mul(Mul(x, Add(Erf(Div(x, sqrt 2)), 1)), 0.5)   =>   Gelu(x)
//
// in any order of the three factors x, 1 + erf(x / sqrt 2) and 0.5, with x / sqrt 2 written as a
// product or a quotient (Hendrycks and Gimpel 2016, arXiv 1606.08415). Another constant c than 0.5
// (simplifiers move the 0.5 into the next weights) leaves Mul(Gelu(x), 2 c). Near misses that must
// stay: another constant than sqrt 2, the erf of another value than the factor.
#include <cmath>

#include "passes/match.h"
#include "passes/passes.h"

namespace vitrail::passes {
namespace {

constexpr double kRootHalf = 0.70710678118654752440;

// v = 1 + erf(x / sqrt 2): x, or nothing.
ir::ValueId gate_of(const Matcher& match, ir::ValueId v) {
  const ir::Node* add = match.from(v, "Add");
  const auto sum = add ? match.with_scalar(*add) : std::nullopt;
  if (!sum || sum->number != 1) return {};
  const ir::Node* erf = match.from(sum->value, "Erf");
  if (!erf) return {};
  if (const ir::Node* div = match.from(erf->inputs[0], "Div"))
    return match.is_scalar(div->inputs[1], 1 / kRootHalf) ? div->inputs[0] : ir::kNoValue;
  const ir::Node* mul = match.from(erf->inputs[0], "Mul");
  const auto product = mul ? match.with_scalar(*mul) : std::nullopt;
  return product && std::fabs(product->number - kRootHalf) < 1e-6 ? product->value : ir::kNoValue;
}

// The factors of a product of up to three: (variable factors, constant).
void factors_of(const Matcher& match, ir::ValueId v, int depth, std::vector<ir::ValueId>& factors, double& constant) {
  const ir::Node* mul = match.from(v, "Mul");
  if (!mul || depth > 2) {
    const ir::Node* div = match.from(v, "Div");
    const auto by = div ? match.scalar(div->inputs[1]) : std::nullopt;
    if (by && depth <= 2 && *by == 2) {
      constant *= 0.5;
      return factors_of(match, div->inputs[0], depth + 1, factors, constant);
    }
    factors.push_back(v);
    return;
  }
  for (ir::ValueId in : mul->inputs) {
    if (const auto number = match.scalar(in)) constant *= *number;
    else factors_of(match, in, depth + 1, factors, constant);
  }
}

}  // namespace

size_t fuse_gelu(ir::Graph& graph) {
  size_t changes = 0;
  const Matcher match(graph);
  // From the end, so that the largest product is seen before the products inside it.
  const auto order = graph.topological_order();
  for (size_t i = order.size(); i-- > 0;) {
    const ir::Node& node = graph.node(order[i]);
    if (!node.alive || !node.is("Mul") || graph.value(node.outputs[0]).dtype != DType::f32) continue;
    std::vector<ir::ValueId> factors;
    double constant = 1;
    factors_of(match, node.outputs[0], 0, factors, constant);
    if (factors.size() != 2) continue;
    for (size_t k = 0; k < 2; ++k) {
      const ir::ValueId x = gate_of(match, factors[k]);
      if (!x.valid() || x != factors[1 - k]) continue;
      const ir::NodeId gate = graph.value(factors[k]).producer;
      const ir::ValueId out = node.outputs[0];
      const Attrs exact = {{"approximate", std::string("none")}};
      if (std::fabs(constant - 0.5) < 1e-6) {
        replace_with(graph, out, "Gelu", {x}, exact, {gate, order[i]});
      } else {
        const ir::ValueId gelu = add_like(graph, gate, "Gelu", {x}, exact);
        replace_with(graph, out, "Mul", {gelu, add_scalar(graph, "factor", static_cast<float>(2 * constant))}, {}, {gate, order[i]});
      }
      ++changes;
      break;
    }
  }
  return changes + graph.remove_dead();
}

}  // namespace vitrail::passes
