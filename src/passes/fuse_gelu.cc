// SPDX-License-Identifier: Apache-2.0
// Mul(Mul(x, Add(Erf(Div(x, sqrt 2)), 1)), 0.5)                           =>   Gelu(x)
// Mul(Mul(x, Add(Tanh(Mul(Add(x, Mul(Pow(x, 3), 0.044715)), r)), 1)), 0.5) =>   Gelu(x, tanh)    r
// = sqrt(2 / pi)
//
// in any order of the three factors x, the gate 1 + erf(x / sqrt 2) and 0.5, with x / sqrt 2
// written as a product or a quotient and the cube as a power or a product (Hendrycks and Gimpel
// 2016, arXiv 1606.08415); with a constant inside the gate, c + c erf(x / sqrt 2); with erf's sign
// turned, 1 - erf(-x / sqrt 2); or multiplied out, c x + c x erf(x / sqrt 2). Another constant c
// than 0.5 (simplifiers move the 0.5 into the next weights) leaves Mul(Gelu(x), 2 c). Near misses
// that must stay: another constant than sqrt 2, the erf of another value than the factor, unequal
// constants in a sum.
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
  double scale = 1;  ///< the gate is this many times 1 + erf(x / sqrt 2)
};

bool equal(double a, double b) { return std::fabs(a - b) <= 1e-6 * std::fabs(a); }

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

// `sign`: of x in erf(x / sqrt 2).
Gate erf_gate(const Matcher& match, const ir::Node& erf, double sign) {
  ir::ValueId v = erf.inputs[0];
  if (const ir::Node* neg = sign < 0 ? match.from(v, "Neg") : nullptr) {
    v = neg->inputs[0];
    sign = 1;
  }
  if (const ir::Node* div = match.from(v, "Div"))
    return {match.is_scalar(div->inputs[1], sign / kRootHalf) ? div->inputs[0] : ir::kNoValue};
  return {times(match, v, sign * kRootHalf)};
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

// v = erf(x / sqrt 2) or its approximation by tanh; x is invalid for anything else.
Gate curve_of(const Matcher& match, ir::ValueId v, double sign = 1) {
  if (const ir::Node* erf = match.from(v, "Erf")) return erf_gate(match, *erf, sign);
  const ir::Node* tanh = sign > 0 ? match.from(v, "Tanh") : nullptr;
  return tanh ? tanh_gate(match, *tanh) : Gate();
}

// v = c + c erf(x / sqrt 2), or 1 - erf(-x / sqrt 2).
Gate gate_of(const Matcher& match, ir::ValueId v) {
  if (const ir::Node* sub = match.from(v, "Sub"))
    return match.scalar(sub->inputs[0]) == 1 ? curve_of(match, sub->inputs[1], -1) : Gate();
  const ir::Node* add = match.from(v, "Add");
  const auto sum = add ? match.with_scalar(*add) : std::nullopt;
  if (!sum) return {};
  if (sum->number == 1) return curve_of(match, sum->value);
  double factor = 1;
  ir::ValueId curve = ir::kNoValue;
  if (const ir::Node* mul = match.from(sum->value, "Mul")) {
    if (const auto product = match.with_scalar(*mul)) {
      curve = product->value;
      factor = product->number;
    }
  } else if (const ir::Node* div = match.from(sum->value, "Div")) {
    curve = div->inputs[0];
    factor = 1 / match.scalar(div->inputs[1]).value_or(0);
  }
  if (!curve.valid() || !equal(sum->number, factor)) return {};
  Gate out = curve_of(match, curve);
  out.scale = factor;
  return out;
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

// v = c x + c x erf(x / sqrt 2).
std::optional<Found> sum_at(const ir::Graph& graph, const Matcher& match, ir::ValueId v) {
  const ir::Node* add = match.from(v, "Add");
  for (size_t i = 0; add && i < 2; ++i) {
    std::vector<ir::ValueId> factors;
    double any = 1;
    factors_of(match, add->inputs[i], ir::kNoValue, 0, factors, any);
    for (ir::ValueId curve : factors) {
      const Gate gate = curve_of(match, curve);
      if (!gate.x.valid() || graph.value(gate.x).shape != graph.value(v).shape) continue;
      std::vector<ir::ValueId> curved, plain;
      Found found{gate, graph.value(curve).producer, 1};
      double constant = 1;
      factors_of(match, add->inputs[i], gate.x, 0, curved, found.constant);
      factors_of(match, add->inputs[1 - i], gate.x, 0, plain, constant);
      if (plain != std::vector{gate.x} || !equal(found.constant, constant)) continue;
      if (curved == std::vector{gate.x, curve} || curved == std::vector{curve, gate.x})
        return found;
    }
  }
  return {};
}

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
    found.constant *= gate.scale;
    if (parts[0] == candidate || parts[1] == candidate) return found;
  }
  if (factors.size() != 1) return {};
  auto found = sum_at(graph, match, factors[0]);
  if (found) found->constant *= constant;
  return found;
}

}  // namespace

size_t fuse_gelu(ir::Graph& graph) {
  size_t changes = 0;
  const Matcher match(graph);
  // From the end, so that the largest product is seen before the products inside it.
  const auto order = graph.topological_order();
  for (size_t i = order.size(); i-- > 0;) {
    const ir::Node& node = graph.node(order[i]);
    const bool whole = node.is("Mul") || node.is("Div") || node.is("Add");
    if (!node.alive || !whole || graph.value(node.outputs[0]).dtype != DType::f32) continue;
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
