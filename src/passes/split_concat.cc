// SPDX-License-Identifier: Apache-2.0
// Conv1x1(Concat(p, q, ...), [Wp Wq ...])  =>  Add(Conv1x1(p, Wp), Conv1x1(q, Wq), ...), where one
// of the parts is itself the result of a convolution, which then takes its 1x1 into its weight:
//
//   Conv1x1(Concat(ConvTranspose(x, V) + c, q), [Wp Wq])
//     =>  Add(ConvTranspose(x, V Wp) + Wp c, Conv1x1(q, Wq))
//
// A step less and the Concat's memory less, and no part has to be written into the middle of
// another's rows, as decoders do that bring the encoder's images back (MST++, U-Nets). Products of
// weights are computed in double. Near misses that must stay: a Concat or a part that is read
// elsewhere, parts that are no convolution or where that would give more channels than it has now,
// convolutions in groups, 1x1 convolutions with strides or pads.
#include <algorithm>

#include "passes/match.h"
#include "passes/passes.h"

namespace vitrail::passes {
namespace {

bool all_are(const Attrs& attrs, const char* name, int64_t value) {
  const auto list = attrs.integers(name, std::vector<int64_t>{});
  return std::all_of(list.begin(), list.end(), [&](int64_t v) { return v == value; });
}

bool is_plain_1x1(const ir::Graph& graph, const ir::Node& node) {
  if (!node.is("Conv") || node.inputs.size() != 2) return false;
  const ir::Value& w = graph.value(node.inputs[1]);
  if (!w.is_constant() || w.dtype != DType::f32 || w.rank() < 3) return false;
  const Dims& d = w.constant.dims();
  return node.attrs.integer("group", 1) == 1 && all_are(node.attrs, "strides", 1) &&
         all_are(node.attrs, "pads", 0) && node.attrs.text("auto_pad", "NOTSET") == "NOTSET" &&
         std::all_of(d.begin() + 2, d.end(), [](int64_t k) { return k == 1; });
}

/// A part that is a convolution with a constant bias or none, read by the Concat alone.
struct Source {
  ir::NodeId conv, add;  ///< add invalid: no bias
  ir::ValueId bias;
};

std::optional<Source> source_of(const ir::Graph& graph, const Matcher& match, ir::ValueId part,
                                int64_t outputs) {
  if (!match.only_reader(part).valid()) return {};
  Source out;
  ir::ValueId at = part;
  if (const ir::Node* add = match.from(at, "Add")) {
    const int64_t channels =
        graph.value(part).shape[1].is_constant() ? graph.value(part).shape[1].constant() : -1;
    const ir::Value& c = graph.value(add->inputs[1]);
    if (!c.is_constant() || c.constant.size() != channels || channels < 1) return {};
    // One number for each channel: all other extents are 1.
    const Dims& d = c.constant.dims();
    const size_t rank = graph.value(part).rank();
    if (d.size() + 1 < rank || d[d.size() + 1 - rank] != channels) return {};
    out.add = graph.value(at).producer;
    out.bias = add->inputs[1];
    at = add->inputs[0];
    if (!match.only_reader(at).valid()) return {};
  }
  const ir::Node* conv = match.from(at, "ConvTranspose");
  const bool transposed = conv != nullptr;
  if (!conv) conv = match.from(at, "Conv");
  if (!conv || conv->inputs.size() != 2 || conv->attrs.integer("group", 1) != 1) return {};
  const ir::Value& w = graph.value(conv->inputs[1]);
  if (!w.is_constant() || w.dtype != DType::f32) return {};
  if (outputs > w.constant.dims()[transposed ? 1 : 0]) return {};
  out.conv = graph.value(at).producer;
  return out;
}

/// Columns [first, first + count) of a 1x1 weight [o, c, 1, ..], as [o, count, 1, ..].
Tensor columns(const Tensor& w, int64_t first, int64_t count) {
  Dims dims = w.dims();
  dims[1] = count;
  Tensor out(DType::f32, dims);
  for (int64_t o = 0; o < dims[0]; ++o)
    std::copy_n(w.data<float>() + o * w.dims()[1] + first, count,
                out.mutable_data<float>() + o * count);
  return out;
}

/// The weight of a convolution whose channels are then multiplied with `w` [o, c, 1, ..]: along
/// axis `axis` of `v`, 0 of a Conv's [c, i, ...] and 1 of a ConvTranspose's [i, c, ...].
Tensor composed(const Tensor& v, const Tensor& w, size_t axis) {
  const int64_t outputs = w.dims()[0], channels = w.dims()[1];
  Dims dims = v.dims();
  dims[axis] = outputs;
  Tensor out(DType::f32, dims);
  const int64_t outer = axis == 0 ? 1 : v.dims()[0], inner = v.size() / channels / outer;
  float* to = out.mutable_data<float>();
  for (int64_t i = 0; i < outer; ++i)
    for (int64_t o = 0; o < outputs; ++o)
      for (int64_t k = 0; k < inner; ++k) {
        double sum = 0;
        for (int64_t c = 0; c < channels; ++c)
          sum += static_cast<double>(v.data<float>()[(i * channels + c) * inner + k]) *
                 static_cast<double>(w.data<float>()[o * channels + c]);
        *to++ = static_cast<float>(sum);
      }
  return out;
}

/// What a bias for each channel becomes behind `w`.
Tensor composed_bias(const Tensor& c, const Tensor& w, size_t rank) {
  Dims dims(rank - 1, 1);
  dims[0] = w.dims()[0];
  Tensor out(DType::f32, dims);
  for (int64_t o = 0; o < w.dims()[0]; ++o) {
    double sum = 0;
    for (int64_t i = 0; i < w.dims()[1]; ++i)
      sum += c.number_at(i) * w.number_at(o * w.dims()[1] + i);
    out.mutable_data<float>()[o] = static_cast<float>(sum);
  }
  return out;
}

bool split(ir::Graph& graph, ir::NodeId id) {
  const Matcher match(graph);
  const ir::Node& node = graph.node(id);
  if (!is_plain_1x1(graph, node)) return false;
  const ir::ValueId joined = node.inputs[0], out = node.outputs[0];
  const ir::Node* concat = match.from(joined, "Concat");
  if (!concat || !match.only_reader(joined).valid() || concat->inputs.size() < 2) return false;
  const size_t rank = graph.value(joined).rank();
  const int64_t axis = concat->attrs.integer("axis");
  if (axis != 1 && axis != 1 - static_cast<int64_t>(rank)) return false;
  const Tensor weight = graph.value(node.inputs[1]).constant;
  const std::string weight_name = graph.value(node.inputs[1]).name;
  const std::vector<ir::ValueId> parts = concat->inputs;
  const Attrs attrs = node.attrs;
  std::vector<std::optional<Source>> sources;
  for (ir::ValueId part : parts) {
    if (!graph.value(part).shape[1].is_constant()) return false;
    sources.push_back(source_of(graph, match, part, weight.dims()[0]));
  }
  if (std::none_of(sources.begin(), sources.end(), [](const auto& s) { return s.has_value(); }))
    return false;

  // Sources first: each of the others then takes the sum so far as it is stored.
  std::vector<ir::ValueId> products(parts.size());
  std::vector<ir::NodeId> replaced = {id, graph.value(joined).producer};
  int64_t first = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const int64_t count = graph.value(parts[i]).shape[1].constant();
    const Tensor w = columns(weight, first, count);
    first += count;
    if (!sources[i]) {
      products[i] =
          add_like(graph, id, "Conv", {parts[i], graph.add_constant(weight_name, w)}, attrs);
      continue;
    }
    const Source& s = *sources[i];
    const std::vector<ir::ValueId> in = graph.node(s.conv).inputs;
    const bool transposed = graph.node(s.conv).is("ConvTranspose");
    const Attrs own = graph.node(s.conv).attrs;
    const ir::ValueId v = graph.add_constant(
        graph.value(in[1]).name, composed(graph.value(in[1]).constant, w, transposed ? 1 : 0));
    products[i] = add_like(graph, s.conv, transposed ? "ConvTranspose" : "Conv", {in[0], v}, own);
    if (s.add.valid())
      products[i] = add_like(
          graph, s.add, "Add",
          {products[i], graph.add_constant(graph.value(s.bias).name,
                                           composed_bias(graph.value(s.bias).constant, w, rank))});
  }
  std::vector<ir::ValueId> order;
  for (const bool source : {true, false})
    for (size_t i = 0; i < parts.size(); ++i)
      if (sources[i].has_value() == source) order.push_back(products[i]);
  ir::ValueId sum = order[0];
  for (size_t i = 1; i + 1 < order.size(); ++i) sum = add_like(graph, id, "Add", {order[i], sum});
  replace_with(graph, out, "Add", {order.back(), sum}, {}, replaced);
  return true;
}

}  // namespace

size_t split_concat(ir::Graph& graph) {
  size_t changes = 0;
  for (ir::NodeId id : graph.topological_order())
    if (graph.node(id).alive) changes += split(graph, id) ? 1 : 0;
  return changes + graph.remove_dead();
}

}  // namespace vitrail::passes
