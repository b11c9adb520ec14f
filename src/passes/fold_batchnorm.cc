// SPDX-License-Identifier: Apache-2.0
// BatchNormalization(Conv(x, w), s, b, m, v)   =>   Add(Conv(x, w * k), b - m * k),  k = s / sqrt(v
// + eps) BatchNormalization(MatMul(x [n, i], w), ...) =>   Add(MatMul(x, w * k), b - m * k)
// BatchNormalization(x, s, b, m, v)            =>   Add(Mul(x, k), b - m * k)
//
// Computed in double: v + eps can be 1e-5, and float32 would lose the tail. A bias of the Conv was
// split off as an Add before (lower_forms), so it is taken along: (x*w + c) * k = x*(w*k) + c*k.
// Near misses that must stay: a Conv whose result is also read elsewhere, a constant added along
// another axis than the channels.
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
ir::ValueId channel_constant(ir::Graph& graph, const std::string& name,
                             const std::vector<double>& values, size_t rank) {
  Dims dims(rank - 1, 1);
  dims[0] = static_cast<int64_t>(values.size());
  Tensor t(DType::f32, dims);
  for (size_t i = 0; i < values.size(); ++i)
    t.mutable_data<float>()[i] = static_cast<float>(values[i]);
  return graph.add_constant(name, t);
}

// Whether a constant has one element for each channel of [n, c, spatial...] and repeats along the
// rest.
bool is_channel_bias(const ir::Value& value, size_t channels, size_t rank) {
  if (!value.is_constant() || value.constant.size() != static_cast<int64_t>(channels)) return false;
  Dims dims = value.constant.dims();
  if (dims.size() == rank && dims[0] == 1) dims.erase(dims.begin());
  return dims.size() == rank - 1 && dims[0] == static_cast<int64_t>(channels);
}

// A Conv or a MatMul of rank 2 that can take a factor for each channel, or null.
const ir::Node* taker_of(const ir::Graph& graph, const Matcher& match, ir::ValueId v) {
  if (!match.only_reader(v).valid()) return nullptr;
  const ir::Node* node = match.from(v, "Conv");
  if (!node && graph.value(v).rank() == 2) node = match.from(v, "MatMul");
  if (!node || node->inputs.size() != 2) return nullptr;
  const ir::Value& w = graph.value(node->inputs[1]);
  return w.is_constant() && (node->is("Conv") || w.rank() == 2) ? node : nullptr;
}

// The weight [o, ...] of a Conv or [i, o] of a MatMul with each output channel scaled.
Tensor scaled_weight(const Tensor& w, const std::vector<double>& scale, bool channel_last) {
  Tensor out(DType::f32, w.dims());
  const auto channels = static_cast<int64_t>(scale.size()), per_filter = w.size() / channels;
  for (int64_t i = 0; i < w.size(); ++i) {
    const auto channel = static_cast<size_t>(channel_last ? i % channels : i / per_filter);
    out.mutable_data<float>()[i] = static_cast<float>(w.number_at(i) * scale[channel]);
  }
  return out;
}

}  // namespace

size_t fold_batchnorm(ir::Graph& graph) {
  size_t changes = 0;
  for (ir::NodeId id : graph.topological_order()) {
    if (!graph.node(id).is("BatchNormalization") ||
        graph.value(graph.node(id).outputs[0]).dtype != DType::f32)
      continue;
    const auto affine = affine_of(graph, graph.node(id));
    if (!affine) continue;
    const std::string name = graph.node(id).name;
    const ir::ValueId x = graph.node(id).inputs[0], out = graph.node(id).outputs[0];
    const size_t rank = graph.value(x).rank(), channels = affine->scale.size();
    if (rank < 2) continue;
    std::vector<double> shift = affine->shift;

    // Upwards: an optional Add of a channel bias, then a Conv or MatMul, each read only here.
    const Matcher match(graph);
    ir::ValueId at = x;
    std::vector<ir::NodeId> replaced = {id};
    const ir::Node* add = match.from(at, "Add");
    if (add && match.only_reader(at).valid() &&
        is_channel_bias(graph.value(add->inputs[1]), channels, rank)) {
      const Tensor& c = graph.value(add->inputs[1]).constant;
      for (size_t i = 0; i < channels; ++i)
        shift[i] += c.number_at(static_cast<int64_t>(i)) * affine->scale[i];
      replaced.insert(replaced.begin(), graph.value(at).producer);
      at = add->inputs[0];
    } else {
      add = nullptr;
    }
    if (const ir::Node* taker = taker_of(graph, match, at)) {
      const ir::NodeId taker_id = graph.value(at).producer;
      const std::vector<ir::ValueId> in = taker->inputs;
      const Attrs attrs = taker->attrs;
      const char* op = taker->op->name;
      replaced.insert(replaced.begin(), taker_id);
      const ir::ValueId weight = graph.add_constant(
          graph.value(in[1]).name,
          scaled_weight(graph.value(in[1]).constant, affine->scale, taker->is("MatMul")));
      const ir::ValueId product = add_like(graph, taker_id, op, {in[0], weight}, attrs);
      replace_with(graph, out, "Add",
                   {product, channel_constant(graph, name + ".shift", shift, rank)}, {}, replaced);
    } else {
      const ir::ValueId scaled = add_like(
          graph, id, "Mul", {x, channel_constant(graph, name + ".scale", affine->scale, rank)});
      replace_with(graph, out, "Add",
                   {scaled, channel_constant(graph, name + ".shift", affine->shift, rank)}, {},
                   {id});
    }
    ++changes;
  }
  return changes + graph.remove_dead();
}

}  // namespace vitrail::passes
