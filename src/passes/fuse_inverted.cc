// SPDX-License-Identifier: Apache-2.0
// x -> [LayerNormalization -> Transpose] -> Conv 1x1, act -> Conv depthwise, act -> Conv 1x1 [->
// Add(residual), ...]
//     =>   fusion "inverted"(x, weights, residual, ...)
//
// The inverted residual of MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) and MobileViT, and
// the feed-forward of MST++. The tensors between the convolutions are several times as wide as x;
// in one kernel they never leave the cache. The norm's scale and shift are folded into the first
// weights when the fusion is lowered: (norm(x) * s + t) W + b = norm(x) (s W) + (t W + b), exact in
// real arithmetic.
//
// Runs on what fuse_epilogue has made: the body holds those fusions, so that dissolving this one
// gives back exactly the graph without it. Each of the first two convolutions may have a bias and
// one activation of the family (Gelu, Swish, Relu); the last takes any epilogue. Near misses that
// must stay: an intermediate that is read elsewhere or is an output, a dilated or grouped (not
// depthwise) middle convolution, a first or last convolution that is no 1x1, weights that are no
// constants, another activation, weights too large to stay in the second-level cache beside the
// rows.
#include <algorithm>

#include "passes/match.h"
#include "passes/passes.h"
#include "passes/single.h"

namespace vitrail::passes {
namespace {

constexpr int64_t kMostWeightBytes = 512 << 10;  // read again for every row of the image

bool is_activation(const ir::Node& node) {
  return node.is("Relu") || node.is("Swish") ||
         (node.is("Gelu") && node.attrs.text("approximate", "none") == "none");
}

// A convolution, alone or as the anchor of a fusion.
struct Stage {
  ir::NodeId node;
  ir::ValueId x, weight;  ///< in the graph
  Attrs attrs;
  bool plain = false;  ///< followed by at most a bias and an activation
};

class Pattern {
 public:
  explicit Pattern(const ir::Graph& graph) : graph_(graph), match_(graph) {}

  /// The members of the fusion around this depthwise convolution; empty: no match.
  std::vector<ir::NodeId> around(ir::NodeId id) const {
    const auto middle = stage(id, "depthwise");
    if (!middle || !middle->plain || !undilated(middle->attrs)) return {};
    const ir::NodeId up = graph_.value(middle->x).producer;
    if (!up.valid() || !match_.only_reader(middle->x).valid()) return {};
    const auto first = stage(up, "gemm");
    const ir::NodeId down = match_.only_reader(graph_.node(id).outputs[0]);
    const auto last = down.valid() ? stage(down, "gemm") : std::nullopt;
    if (!first || !first->plain || !last || last->x != graph_.node(id).outputs[0]) return {};
    int64_t bytes = 0;
    for (ir::ValueId w : {first->weight, middle->weight, last->weight}) {
      const ir::Value& weight = graph_.value(w);
      if (!weight.is_constant() || weight.dtype != DType::f32) return {};
      bytes += static_cast<int64_t>(weight.constant.bytes());
    }
    if (bytes > kMostWeightBytes) return {};
    std::vector<ir::NodeId> members = {up, id, down};
    for (ir::NodeId norm : norm_before(first->x)) members.push_back(norm);
    return members;
  }

 private:
  static bool undilated(const Attrs& attrs) {
    const auto dilations = attrs.integers("dilations", std::vector<int64_t>{1, 1});
    return std::all_of(dilations.begin(), dilations.end(), [](int64_t d) { return d == 1; });
  }

  // The node as a convolution that single_family gives to `family`.
  std::optional<Stage> stage(ir::NodeId id, std::string_view family) const {
    const ir::Node& node = graph_.node(id);
    if (!node.is_fusion()) {
      if (!node.is("Conv") || node.inputs.size() != 2) return {};
      const char* found = single_family(graph_, node);
      if (!found || found != family) return {};
      return Stage{id, node.inputs[0], node.inputs[1], node.attrs, true};
    }
    if (node.family != family || node.outputs.size() != 1) return {};
    const ir::Graph& body = *node.bodies[0];
    const auto order = body.topological_order();
    const ir::Node& conv = body.node(order[0]);
    if (!conv.is("Conv") || conv.inputs.size() != 2) return {};
    const auto outer = [&](ir::ValueId v) {
      const auto at = std::find(body.inputs.begin(), body.inputs.end(), v);
      return at == body.inputs.end() ? ir::kNoValue
                                     : node.inputs[static_cast<size_t>(at - body.inputs.begin())];
    };
    Stage out{id, outer(conv.inputs[0]), outer(conv.inputs[1]), conv.attrs, true};
    if (!out.x.valid() || !out.weight.valid()) return {};
    ir::ValueId at = conv.outputs[0];
    size_t next = 1;
    if (next < order.size() && adds_channels(body, body.node(order[next]), at, outer))
      at = body.node(order[next++]).outputs[0];
    if (next < order.size() && is_activation(body.node(order[next]))) ++next;
    out.plain = next == order.size();
    return out;
  }

  // Add(at, constant [c, 1, 1]).
  template <typename Outer>
  bool adds_channels(const ir::Graph& body, const ir::Node& add, ir::ValueId at,
                     Outer outer) const {
    if (!add.is("Add") || std::count(add.inputs.begin(), add.inputs.end(), at) != 1) return false;
    const ir::ValueId bias = outer(add.inputs[add.inputs[0] == at ? 1 : 0]);
    if (!bias.valid() || !graph_.value(bias).is_constant()) return false;
    const Shape &shape = graph_.value(bias).shape, &result = body.value(at).shape;
    return shape.size() >= 3 && shape[shape.size() - 3] == result[1] &&
           graph_.value(bias).constant.size() == result[1].constant();
  }

  // Transpose to channels first of a norm over the last axis, both read here only: both nodes.
  std::vector<ir::NodeId> norm_before(ir::ValueId x) const {
    const ir::Node* turn = match_.from(x, "Transpose");
    if (!turn || transpose_perm(graph_, *turn) != std::vector<int64_t>{0, 3, 1, 2} ||
        !match_.only_reader(x).valid())
      return {};
    const ir::ValueId normed = turn->inputs[0];
    const ir::Node* norm = match_.from(normed, "LayerNormalization");
    if (!norm || !match_.only_reader(normed).valid()) return {};
    if (normalize_axis(norm->attrs.integer("axis", -1), 4, "axis") != 3) return {};
    for (size_t i = 1; i < norm->inputs.size(); ++i)
      if (norm->inputs[i].valid() && !graph_.value(norm->inputs[i]).is_constant()) return {};
    for (size_t i = 1; i < norm->outputs.size(); ++i)
      if (norm->outputs[i].valid()) return {};
    return {graph_.value(x).producer, graph_.value(normed).producer};
  }

  const ir::Graph& graph_;
  Matcher match_;
};

}  // namespace

size_t fuse_inverted(ir::Graph& graph) {
  size_t changes = 0;
  for (ir::NodeId id : graph.topological_order()) {
    if (!graph.node(id).alive) continue;
    const std::vector<ir::NodeId> members = Pattern(graph).around(id);
    if (members.empty()) continue;
    ir::outline(graph, members, "inverted");
    ++changes;
  }
  return changes;
}

}  // namespace vitrail::passes
