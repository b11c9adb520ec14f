// SPDX-License-Identifier: Apache-2.0
// d = Sub(x, ReduceMean(x)); v = ReduceMean(Pow(d, 2)); y = Div(d, Sqrt(Add(v, eps)))
// z = Add(Mul(y, scale), bias)
//     =>   z = LayerNormalization(x, scale, bias)
//
// The form that opset 16 and older, and hand-written norms, have. Mul(d, d) may stand for Pow, and
// Mul by Reciprocal for Div. Without scale and bias the norm is matched alone (scale 1).
// Near misses that must stay: a mean over another axis than the last, d from two different inputs,
// an eps outside the root.
#include "passes/match.h"
#include "passes/passes.h"

namespace vitrail::passes {
namespace {

struct Pattern {
  ir::Graph& graph;
  const Matcher& match;

  // v = ReduceMean(x, last axis, keepdims): x, or nothing.
  ir::ValueId mean_of(ir::ValueId v) const {
    const ir::Node* mean = match.from(v, "ReduceMean");
    if (!mean || mean->attrs.integer("keepdims", 1) != 1 || mean->inputs.size() < 2) return {};
    const auto axes = graph.ints(mean->inputs[1]);
    if (!axes || axes->size() != 1 || !(*axes)[0].is_constant()) return {};
    const auto rank = static_cast<int64_t>(graph.value(mean->inputs[0]).rank());
    const int64_t axis = (*axes)[0].constant();
    return axis == -1 || axis == rank - 1 ? mean->inputs[0] : ir::kNoValue;
  }
  // v = x^2.
  ir::ValueId square_of(ir::ValueId v) const {
    if (const ir::Node* pow = match.from(v, "Pow"))
      return match.is_scalar(pow->inputs[1], 2) ? pow->inputs[0] : ir::kNoValue;
    if (const ir::Node* mul = match.from(v, "Mul"))
      return mul->inputs[0] == mul->inputs[1] ? mul->inputs[0] : ir::kNoValue;
    return {};
  }
  // v = sqrt(mean(d^2) + eps): (d, eps).
  struct Deviation {
    ir::ValueId centred;
    double eps;
  };
  std::optional<Deviation> deviation(ir::ValueId v) const {
    const ir::Node* root = match.from(v, "Sqrt");
    const ir::Node* sum = root ? match.from(root->inputs[0], "Add") : nullptr;
    const auto parts = sum ? match.with_scalar(*sum) : std::nullopt;
    if (!parts) return {};
    const ir::ValueId squared = mean_of(parts->value);
    const ir::ValueId centred = squared.valid() ? square_of(squared) : ir::kNoValue;
    if (!centred.valid()) return {};
    return Deviation{centred, parts->number};
  }
  // The normalized value: Div(d, s) or Mul(d, Reciprocal(s)).
  std::optional<Deviation> normalized(const ir::Node& node) const {
    if (node.is("Div")) {
      const auto s = deviation(node.inputs[1]);
      return s && s->centred == node.inputs[0] ? s : std::nullopt;
    }
    if (!node.is("Mul")) return {};
    for (size_t i = 0; i < 2; ++i) {
      const ir::Node* inverse = match.from(node.inputs[i], "Reciprocal");
      const auto s = inverse ? deviation(inverse->inputs[0]) : std::nullopt;
      if (s && s->centred == node.inputs[1 - i]) return s;
    }
    return {};
  }
  // A constant vector of the last axis, as rank 1. One of more axes than the value it scales gives
  // the result more axes, too.
  ir::ValueId row(ir::ValueId v, const Expr& extent, size_t rank) const {
    const ir::Value& value = graph.value(v);
    if (value.rank() > rank) return {};
    if (!value.is_constant() || value.shape.empty() || !(value.shape.back() == extent)) return {};
    if (value.constant.size() != extent.constant()) return {};
    if (value.rank() == 1) return v;
    return graph.add_constant(value.name, value.constant.reshaped({extent.constant()}));
  }
  // The only reader of v when it is `op` with a row constant: (reader, row).
  std::pair<ir::NodeId, ir::ValueId> affine(ir::ValueId v, std::string_view op,
                                            const Expr& extent) const {
    const ir::NodeId reader = v.index < graph.value_count() ? match.only_reader(v) : ir::NodeId{};
    if (!reader.valid() || !graph.node(reader).is(op)) return {};
    const ir::ValueId other = match.other(graph.node(reader), v);
    return other.valid() ? std::make_pair(reader, row(other, extent, graph.value(v).rank()))
                         : std::make_pair(ir::NodeId{}, ir::kNoValue);
  }
};

}  // namespace

size_t fuse_layernorm(ir::Graph& graph) {
  size_t changes = 0;
  const Matcher match(graph);
  for (ir::NodeId id : graph.topological_order()) {
    const ir::Node& node = graph.node(id);
    if (!node.op || graph.value(node.outputs[0]).dtype != DType::f32) continue;
    const Pattern pattern{graph, match};
    const auto found = pattern.normalized(node);
    if (!found) continue;
    const ir::Node* sub = pattern.match.from(found->centred, "Sub");
    if (!sub || pattern.mean_of(sub->inputs[1]) != sub->inputs[0]) continue;
    const ir::ValueId x = sub->inputs[0];
    const Expr extent = graph.value(x).shape.back();
    if (!extent.is_constant() || graph.value(x).shape != graph.value(node.outputs[0]).shape)
      continue;
    std::vector<ir::NodeId> replaced = {graph.value(found->centred).producer, id};
    ir::ValueId result = node.outputs[0], scale, bias;
    if (const auto [mul, weight] = pattern.affine(result, "Mul", extent); weight.valid()) {
      scale = weight;
      result = graph.node(mul).outputs[0];
      replaced.push_back(mul);
      if (const auto [add, shift] = pattern.affine(result, "Add", extent); shift.valid()) {
        bias = shift;
        result = graph.node(add).outputs[0];
        replaced.push_back(add);
      }
    }
    if (!scale.valid()) {
      Tensor ones(DType::f32, {extent.constant()});
      std::fill_n(ones.mutable_data<float>(), ones.size(), 1.0f);
      scale = graph.add_constant("ones", ones);
    }
    std::vector<ir::ValueId> inputs = {x, scale};
    if (bias.valid()) inputs.push_back(bias);
    replace_with(graph, result, "LayerNormalization", inputs,
                 {{"axis", int64_t{-1}}, {"epsilon", found->eps}}, replaced);
    ++changes;
  }
  return changes + graph.remove_dead();
}

}  // namespace vitrail::passes
