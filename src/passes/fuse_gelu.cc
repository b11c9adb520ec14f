// SPDX-License-Identifier: Apache-2.0
// Mul(Mul(x, Add(Erf(Div(x, sqrt 2)), 1)), 0.5)                           =>   Gelu(x)
// Mul(Mul(x, Add(Tanh(Mul(Add(x, Mul(Pow(x, 3), 0.044715)), r)), 1)), 0.5) =>   Gelu(x, tanh)    r
// = sqrt(2 / pi)
//
// in any order of the three factors x, the gate 1 + erf(x / sqrt 2) and 0.5, with x / sqrt 2
// written as a product or a quotient and the cube as a power or a product (Hendrycks and Gimpel
// 2016, arXiv 1606.08415). Another constant c than 0.5 (simplifiers move the 0.5 into the next
// weights) leaves Mul(Gelu(x), 2 c). Near misses that must stay: another constant than sqrt 2, the
// erf of another value than the factor.
#include <cmath>

#include "passes/match.h"
#include "passes/passes.h"

namespace vitrail::passes {
namespace {

constexpr double kRootHalf = 0.70710678118654752440;
constexpr double kRootTwoByPi = 0.79788456080286535588;

struct Gate {
  ir::ValueId x = ir::kNoValue;
  const char* approximate = "none";
};

// For a product of a value and about `wanted`: the value.
ir::ValueId times(const Matcher& match, ir::ValueId v, double wanted) {
  const ir::Node* mul = match.from(v, "Mul");
  const auto product = mul ? match.with_scalar(*mul) : std::nullopt;
  return product && std::fabs(product->number - wanted) < 1e-6 ? product->value : ir::kNoValue;
}

// v = x^3: x, or nothing.
ir::ValueId cube_of(const Matcher& match, ir::ValueId v) {
  if (const ir::Node* pow = match.from(v, "Pow"))
    return match.is_scalar(pow->inputs[1], 3) ? pow->inputs[0] : ir::kNoValue;
  const ir::Node* mul = match.from(v, "Mul");
  for (size_t i = 0; mul && i < 2; ++i) {
    const ir::Node* square = match.from(mul->inputs[i], "Mul");
    if (square && square->inputs[0] == square->inputs[1] && square->inputs[0] == mul->inputs[1 - i])
      return mul->inputs[1 - i];
  }
  return {};
}

Gate erf_gate(const Matcher& match, const ir::Node& erf) {
  if (const ir::Node* div = match.from(erf.inputs[0], "Div"))
    return {match.is_scalar(div->inputs[1], 1 / kRootHalf) ? div->inputs[0] : ir::kNoValue, "none"};
  return {times(match, erf.inputs[0], kRootHalf), "none"};
}

Gate tanh_gate(const Matcher& match, const ir::Node& tanh) {
  const ir::ValueId inner = times(match, tanh.inputs[0], kRootTwoByPi);
  const ir::Node* sum = inner.valid() ? match.from(inner, "Add") : nullptr;
  for (size_t i = 0; sum && i < 2; ++i) {
    const ir::ValueId cubed = times(match, sum->inputs[i], 0.044715);
    if (cubed.valid() && cube_of(match, cubed) == sum->inputs[1 - i])
      return {sum->inputs[1 - i], "tanh"};
  }
  return {};
}

// v = 1 + erf(x / sqrt 2) or its approximation by tanh; x is invalid for anything else.
Gate gate_of(const Matcher& match, ir::ValueId v) {
  const ir::Node* add = match.from(v, "Add");
  const auto sum = add ? match.with_scalar(*add) : std::nullopt;
  if (!sum || sum->number != 1) return {};
  if (const ir::Node* erf = match.from(sum->value, "Erf")) return erf_gate(match, *erf);
  if (const ir::Node* tanh = match.from(sum->value, "Tanh")) return tanh_gate(match, *tanh);
  return {};
}

// The factors of a product of up to three: (variable factors, constant). `whole` is not taken
// apart.
void factors_of(const Matcher& match, ir::ValueId v, ir::ValueId whole, int depth,
                std::vector<ir::ValueId>& factors, double& constant) {
  const ir::Node* mul = v != whole && depth <= 2 ? match.from(v, "Mul") : nullptr;
  const ir::Node* div = v != whole && depth <= 2 ? match.from(v, "Div") : nullptr;
  if (div && match.scalar(div->inputs[1]) == 2) {
    constant *= 0.5;
    factors_of(match, div->inputs[0], whole, depth + 1, factors, constant);
  } else if (mul) {
    for (ir::ValueId in : mul->inputs) {
      if (const auto number = match.scalar(in))
        constant *= *number;
      else
        factors_of(match, in, whole, depth + 1, factors, constant);
    }
  } else {
    factors.push_back(v);
  }
}

struct Found {
  Gate gate;
  ir::NodeId gate_node;
  double constant = 1;
};

// v = c * x * gate(x).
std::optional<Found> gelu_at(const ir::Graph& graph, const Matcher& match, ir::ValueId v) {
  std::vector<ir::ValueId> factors;
  double constant = 1;
  factors_of(match, v, ir::kNoValue, 0, factors, constant);
  for (ir::ValueId candidate : factors) {
    const Gate gate = gate_of(match, candidate);
    if (!gate.x.valid() || graph.value(gate.x).shape != graph.value(v).shape) continue;
    std::vector<ir::ValueId> parts;
    Found found{gate, graph.value(candidate).producer, 1};
    factors_of(match, v, gate.x, 0, parts, found.constant);
    if (parts.size() != 2 || (parts[0] != gate.x && parts[1] != gate.x)) continue;
    if (parts[0] == candidate || parts[1] == candidate) return found;
  }
  return {};
}

}  // namespace

size_t fuse_gelu(ir::Graph& graph) {
  size_t changes = 0;
  const Matcher match(graph);
  // From the end, so that the largest product is seen before the products inside it.
  const auto order = graph.topological_order();
  for (size_t i = order.size(); i-- > 0;) {
    const ir::Node& node = graph.node(order[i]);
    const bool product = node.is("Mul") || node.is("Div");
    if (!node.alive || !product || graph.value(node.outputs[0]).dtype != DType::f32) continue;
    const ir::ValueId out = node.outputs[0];
    const auto found = gelu_at(graph, match, out);
    if (!found) continue;
    const Attrs attrs = {{"approximate", std::string(found->gate.approximate)}};
    if (std::fabs(found->constant - 0.5) < 1e-6) {
      replace_with(graph, out, "Gelu", {found->gate.x}, attrs, {found->gate_node, order[i]});
    } else {
      const ir::ValueId gelu = add_like(graph, found->gate_node, "Gelu", {found->gate.x}, attrs);
      const ir::ValueId factor =
          add_scalar(graph, "factor", static_cast<float>(2 * found->constant));
      replace_with(graph, out, "Mul", {gelu, factor}, {}, {found->gate_node, order[i]});
    }
    graph.remove_dead();  // the products inside are no candidates any more
    ++changes;
  }
  return changes + graph.remove_dead();
}

}  // namespace vitrail::passes
