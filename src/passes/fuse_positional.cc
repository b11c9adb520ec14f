// SPDX-License-Identifier: Apache-2.0
// x4 -> Reshape -> x                                             x4 [n, h, w, c], x [n, h*w, c]
// MatMul(x, Wv) -> Reshape, Transpose -> depthwise, act -> p     p [n, e, h, w]
// MatMul(x, M) [+ b] -> Reshape, Transpose -> g                  M [n, c, e] varies with the image
// depthwise(p) + g [+ residual, ...]
//     =>   fusion "positional"(x4, Wv, M, ...)
//
// What spectral_attention leaves of MST++'s attention beside the Gram matrix: the positional branch
// of two 3 x 3 depthwise convolutions on v = x Wv, added to x M + b. In one kernel x is read once
// and v is never stored. Runs after fuse_epilogue, whose fusions the body holds: dissolving this
// one gives them back. The Reshape of x is repeated inside, because the Gram matrix reads its
// result too. Near misses that must stay: v or p read elsewhere, windows other than 3 x 3 with one
// pixel of padding, products of different tokens, a constant M, another first node than the Add of
// g.
#include <algorithm>

#include "passes/match.h"
#include "passes/passes.h"

namespace vitrail::passes {
namespace {

class Pattern {
 public:
  explicit Pattern(const ir::Graph& graph) : graph_(graph), match_(graph) {}

  struct Found {
    std::vector<ir::NodeId> members;
    ir::NodeId products[2];  ///< of x with Wv and with M
    ir::NodeId tokens;       ///< the Reshape that makes x
  };

  /// Around the second depthwise fusion.
  std::optional<Found> around(ir::NodeId id) const {
    const ir::Node& second = graph_.node(id);
    if (second.family != "depthwise" || second.outputs.size() != 1) return {};
    const ir::Graph& body = *second.bodies[0];
    const auto order = body.topological_order();
    const ir::Node& conv = body.node(order[0]);
    if (order.size() < 2 || !same_window(second, conv)) return {};
    const ir::Node& add = body.node(order[1]);
    const ir::ValueId sum = conv.outputs[0];
    if (!add.is("Add") || std::count(add.inputs.begin(), add.inputs.end(), sum) != 1) return {};
    const ir::ValueId g = outer(second, add.inputs[add.inputs[0] == sum ? 1 : 0]);
    const ir::NodeId middle = only_producer(outer(second, conv.inputs[0]));
    if (!g.valid() || !middle.valid()) return {};
    const auto first = first_window(middle);
    const auto values = first ? product_behind_views(*first) : std::nullopt,
               mixed = product_behind_views(g);
    if (!values || !mixed) return {};

    const ir::Node &v = graph_.node(values->product), &m = graph_.node(mixed->product);
    if (v.inputs[0] != m.inputs[0] || !is_plain(v) || !is_product(m)) return {};
    const ir::Value &wv = graph_.value(v.inputs[1]), &matrix = graph_.value(m.inputs[1]);
    if (!wv.is_constant() || wv.rank() != 2 || matrix.is_constant() || matrix.rank() != 3)
      return {};
    const ir::Node* tokens = graph_.producer(v.inputs[0]);
    if (!tokens || !tokens->op || !is_reshape(*tokens)) return {};
    const Shape &x4 = graph_.value(tokens->inputs[0]).shape, &x = graph_.value(v.inputs[0]).shape;
    const Shape& out = graph_.value(second.outputs[0]).shape;  // [n, e, h, w]
    if (x4.size() != 4 || x.size() != 3 || x4[0] != x[0] || x4[3] != x[2] ||
        matrix.shape[0] != x[0])
      return {};
    if (x4[0] != out[0] || x4[1] != out[2] || x4[2] != out[3] || !x4[3].is_constant()) return {};

    Found found{{id, middle, values->product, mixed->product},
                {values->product, mixed->product},
                graph_.value(v.inputs[0]).producer};
    for (const auto& views : {values->views, mixed->views})
      found.members.insert(found.members.end(), views.begin(), views.end());
    return found;
  }

 private:
  ir::ValueId outer(const ir::Node& fusion, ir::ValueId inner) const {
    const auto& inputs = fusion.bodies[0]->inputs;
    const auto at = std::find(inputs.begin(), inputs.end(), inner);
    return at == inputs.end() ? ir::kNoValue
                              : fusion.inputs[static_cast<size_t>(at - inputs.begin())];
  }
  ir::NodeId only_producer(ir::ValueId v) const {
    return v.valid() && match_.only_reader(v).valid() ? graph_.value(v).producer : ir::NodeId{};
  }

  // 3 x 3, stride 1, one pixel of padding, constant weights.
  bool same_window(const ir::Node& fusion, const ir::Node& conv) const {
    if (!conv.is("Conv") || conv.inputs.size() != 2) return false;
    const ir::ValueId w = fusion.is_fusion() ? outer(fusion, conv.inputs[1]) : conv.inputs[1];
    if (!w.valid() || !graph_.value(w).is_constant() || graph_.value(w).rank() != 4) return false;
    const auto all = [&](const char* name, int64_t wanted, std::vector<int64_t> fallback) {
      const auto list = conv.attrs.integers(name, fallback);
      return std::all_of(list.begin(), list.end(), [&](int64_t v) { return v == wanted; });
    };
    const Shape& window = graph_.value(w).shape;
    return window[2].is(3) && window[3].is(3) &&
           conv.attrs.text("auto_pad", "NOTSET") == "NOTSET" && all("strides", 1, {1, 1}) &&
           all("dilations", 1, {1, 1}) && all("pads", 1, {0, 0, 0, 0});
  }

  // The first window with at most a bias and one activation after it: what it reads.
  std::optional<ir::ValueId> first_window(ir::NodeId id) const {
    const ir::Node& node = graph_.node(id);
    if (node.is("Conv")) {
      const Shape &x = graph_.value(node.inputs[0]).shape, &w = graph_.value(node.inputs[1]).shape;
      const bool depthwise =
          x.size() == 4 && x[1].is(node.attrs.integer("group", 1)) && w[0] == x[1];
      return depthwise && same_window(node, node) ? std::optional(node.inputs[0]) : std::nullopt;
    }
    if (node.family != "depthwise" || node.outputs.size() != 1) return {};
    const ir::Graph& body = *node.bodies[0];
    const auto order = body.topological_order();
    const ir::Node& conv = body.node(order[0]);
    if (!same_window(node, conv)) return {};
    size_t next = 1;
    if (next < order.size() && adds_channels(node, body.node(order[next]), conv.outputs[0])) ++next;
    if (next < order.size() && is_activation(body.node(order[next]))) ++next;
    const ir::ValueId x = outer(node, conv.inputs[0]);
    return next == order.size() && x.valid() ? std::optional(x) : std::nullopt;
  }
  static bool is_activation(const ir::Node& node) {
    return node.is("Relu") || node.is("Swish") ||
           (node.is("Gelu") && node.attrs.text("approximate", "none") == "none");
  }
  bool adds_channels(const ir::Node& fusion, const ir::Node& add, ir::ValueId at) const {
    if (!add.is("Add") || std::count(add.inputs.begin(), add.inputs.end(), at) != 1) return false;
    const ir::ValueId bias = outer(fusion, add.inputs[add.inputs[0] == at ? 1 : 0]);
    if (!bias.valid() || !graph_.value(bias).is_constant()) return false;
    const Shape &shape = graph_.value(bias).shape, &result = fusion.bodies[0]->value(at).shape;
    return shape.size() >= 3 && shape[shape.size() - 3] == result[1] &&
           graph_.value(bias).constant.size() == result[1].constant();
  }

  // v = Transpose(Reshape(product)) to channels first, all read here only.
  struct Views {
    ir::NodeId product;
    std::vector<ir::NodeId> views;
  };
  std::optional<Views> product_behind_views(ir::ValueId v) const {
    const ir::Node* turn = match_.from(v, "Transpose");
    if (!turn || !match_.only_reader(v).valid() ||
        transpose_perm(graph_, *turn) != std::vector<int64_t>{0, 3, 1, 2})
      return {};
    const ir::ValueId image = turn->inputs[0];
    const ir::NodeId reshape = only_producer(image);
    if (!reshape.valid() || !graph_.node(reshape).op || !is_reshape(graph_.node(reshape)))
      return {};
    const ir::ValueId rows = graph_.node(reshape).inputs[0];
    const ir::NodeId product = only_producer(rows);
    if (!product.valid() || graph_.value(rows).rank() != 3 ||
        graph_.value(rows).shape.back() != graph_.value(image).shape.back())
      return {};
    return Views{product, {graph_.value(v).producer, reshape}};
  }
  // A product alone.
  static bool is_plain(const ir::Node& node) {
    return node.is("MatMul") ||
           (node.family == "gemm" && node.bodies[0]->node_count() == 1 && is_product(node));
  }
  // MatMul of its first two inputs, then at most the Add of a constant row.
  static bool is_product(const ir::Node& node) {
    if (node.is("MatMul")) return true;
    if (node.family != "gemm" || node.outputs.size() != 1) return false;
    const ir::Graph& body = *node.bodies[0];
    const auto order = body.topological_order();
    const ir::Node& product = body.node(order[0]);
    if (!product.is("MatMul") || product.inputs[0] != body.inputs[0] ||
        product.inputs[1] != body.inputs[1])
      return false;
    if (order.size() == 1) return true;
    const ir::Node& add = body.node(order[1]);
    return order.size() == 2 && add.is("Add") && body.inputs.size() == 3 &&
           std::find(add.inputs.begin(), add.inputs.end(), body.inputs[2]) != add.inputs.end() &&
           body.value(body.inputs[2]).shape == Shape{body.value(product.outputs[0]).shape.back()};
  }

  const ir::Graph& graph_;
  Matcher match_;
};

}  // namespace

size_t fuse_positional(ir::Graph& graph) {
  size_t changes = 0;
  for (ir::NodeId id : graph.topological_order()) {
    if (!graph.node(id).alive) continue;
    auto found = Pattern(graph).around(id);
    if (!found) continue;
    const ir::Node& tokens = graph.node(found->tokens);
    const ir::ValueId own = add_like(graph, found->tokens, tokens.op->name,
                                     std::vector<ir::ValueId>(tokens.inputs), Attrs(tokens.attrs));
    found->members.push_back(graph.value(own).producer);
    for (ir::NodeId product : found->products) graph.node(product).inputs[0] = own;
    ir::outline(graph, found->members, "positional");
    ++changes;
  }
  return changes + graph.remove_dead();
}

}  // namespace vitrail::passes
