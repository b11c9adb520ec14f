// SPDX-License-Identifier: Apache-2.0
// BatchNormalization(Conv(x, w), s, b, m, v)   =>   Add(Conv(x, w * k), b - m * k),  k = s / sqrt(v + eps)
// BatchNormalization(x, s, b, m, v)            =>   Add(Mul(x, k), b - m * k)
//
// Computed in double: v + eps can be 1e-5, and float32 would lose the tail. A bias of the Conv was
// split off as an Add before (lower_forms), so it is taken along: (x*w + c) * k = x*(w*k) + c*k.
// Near miss that must stay: a Conv whose result is also read elsewhere.
#include <cmath>

#include "passes/match.h"
#include "passes/passes.h"

namespace vitrail::passes {
namespace {

struct Affine {
  std::vector<double> scale, shift;
};

std::optional<Affine> affine_of(const ir::Graph& graph, const ir::Node& node) {
  if (node.attrs.integer("training_mode", 0) != 0) return {};
  std::vector<const Tensor*> t;
  for (size_t i = 1; i < 5; ++i) {
    if (!graph.value(node.inputs[i]).is_constant()) return {};
    t.push_back(&graph.value(node.inputs[i]).constant);
  }
  const double eps = node.attrs.number("epsilon", 1e-5);
  Affine out;
  for (int64_t c = 0; c < t[0]->size(); ++c) {
    const double k = t[0]->number_at(c) / std::sqrt(t[3]->number_at(c) + eps);
    out.scale.push_back(k);
    out.shift.push_back(t[1]->number_at(c) - t[2]->number_at(c) * k);
  }
  return out;
}

// A per-channel constant that broadcasts over [n, c, spatial...].
ir::ValueId channel_constant(ir::Graph& graph, const std::string& name, const std::vector<double>& values, size_t rank) {
  Dims dims(rank - 1, 1);
  dims[0] = static_cast<int64_t>(values.size());
  Tensor t(DType::f32, dims);
  for (size_t i = 0; i < values.size(); ++i) t.mutable_data<float>()[i] = static_cast<float>(values[i]);
  return graph.add_constant(name, t);
}

// The channel vector of an Add after a Conv: a constant of shape [c, 1, 1].
bool is_channel_bias(const ir::Value& value, size_t channels) {
  return value.is_constant() && value.constant.size() == static_cast<int64_t>(channels) && !value.shape.empty() &&
         value.shape[0].is(static_cast<int64_t>(channels));
}

}  // namespace

size_t fold_batchnorm(ir::Graph& graph) {
  size_t changes = 0;
  for (ir::NodeId id : graph.topological_order()) {
    if (!graph.node(id).is("BatchNormalization") || graph.value(graph.node(id).outputs[0]).dtype != DType::f32) continue;
    const auto affine = affine_of(graph, graph.node(id));
    if (!affine) continue;
    const std::string name = graph.node(id).name;
    const ir::ValueId x = graph.node(id).inputs[0], out = graph.node(id).outputs[0];
    const size_t rank = graph.value(x).rank(), channels = affine->scale.size();
    if (rank < 2) continue;
    std::vector<double> shift = affine->shift;

    // Upwards: an optional Add of a channel bias, then a Conv, each read only here.
    const Matcher match(graph);
    ir::ValueId at = x;
    std::vector<ir::NodeId> replaced = {id};
    const ir::Node* add = match.from(at, "Add");
    if (add && match.only_reader(at).valid() && is_channel_bias(graph.value(add->inputs[1]), channels)) {
      const Tensor& c = graph.value(add->inputs[1]).constant;
      for (size_t i = 0; i < channels; ++i) shift[i] += c.number_at(static_cast<int64_t>(i)) * affine->scale[i];
      replaced.insert(replaced.begin(), graph.value(at).producer);
      at = add->inputs[0];
    } else {
      add = nullptr;
    }
    const ir::Node* conv = match.from(at, "Conv");
    const bool folds = conv && match.only_reader(at).valid() && conv->inputs.size() == 2 && graph.value(conv->inputs[1]).is_constant();
    if (folds) {
      const ir::NodeId conv_id = graph.value(at).producer;
      const Tensor& w = graph.value(conv->inputs[1]).constant;
      Tensor scaled(DType::f32, w.dims());
      const int64_t per_filter = w.size() / static_cast<int64_t>(channels);
      for (int64_t i = 0; i < w.size(); ++i)
        scaled.mutable_data<float>()[i] = static_cast<float>(w.number_at(i) * affine->scale[static_cast<size_t>(i / per_filter)]);
      const std::vector<ir::ValueId> in = conv->inputs;
      const Attrs attrs = conv->attrs;
      const ir::ValueId weight = graph.add_constant(graph.value(in[1]).name, scaled);
      const ir::ValueId product = add_like(graph, conv_id, "Conv", {in[0], weight}, attrs);
      replace_with(graph, out, "Add", {product, channel_constant(graph, name + ".shift", shift, rank)}, {}, replaced);
    } else {
      const ir::ValueId scaled = add_like(graph, id, "Mul", {x, channel_constant(graph, name + ".scale", affine->scale, rank)});
      replace_with(graph, out, "Add", {scaled, channel_constant(graph, name + ".shift", affine->shift, rank)}, {}, {id});
    }
    ++changes;
  }
  return changes + graph.remove_dead();
}

}  // namespace vitrail::passes
