// SPDX-License-Identifier: Apache-2.0
// MatMul(Reshape(x), W)        =>   Reshape(MatMul(x, W))      when the last axis stays
// Add(Reshape(x), bias)        =>   Reshape(Add(x, bias))      when the last axis stays
// Gelu(Transpose(x))           =>   Transpose(Gelu(x))         (any one-operand instruction)
// Add(Transpose(x), y)         =>   Transpose(Add(x, Transpose^-1(y)))   when x is the result of a
//                                   product or convolution, which takes y as its residual; Reshape
//                                   alike
//
// Exporters flatten tokens to a matrix before each Linear and unflatten after it. Sunk below bias,
// activation and residual, the pairs meet and cancel, and the product keeps its epilogue.
#include <algorithm>

#include "passes/match.h"
#include "passes/passes.h"

namespace vitrail::passes {
namespace {

bool keeps_last_axis(const ir::Graph& graph, const ir::Node& reshape) {
  const Shape &from = graph.value(reshape.inputs[0]).shape,
              &to = graph.value(reshape.outputs[0]).shape;
  return from.size() >= 2 && to.size() >= 2 && from.back() == to.back();
}

bool unary_pointwise(const ir::Node& node) {
  if (node.is("Gelu") || node.is("Swish") || node.is("LeakyRelu")) return true;
  return node.op && node.op->traits.pointwise && arity_of(*node.op->traits.pointwise) == 1;
}
bool binary_pointwise(const ir::Node& node) {
  return node.op && node.op->traits.pointwise && arity_of(*node.op->traits.pointwise) == 2 &&
         node.inputs.size() == 2;
}

// At most the last axis of v is longer than 1.
bool is_row(const ir::Graph& graph, ir::ValueId v) {
  const Shape& s = graph.value(v).shape;
  return std::all_of(s.begin(), s.empty() ? s.end() : s.end() - 1,
                     [](const Expr& d) { return d.is(1); });
}

// Reshape to the extents of `like` after a node whose last extent may have changed.
std::optional<std::vector<int64_t>> target_of(const ir::Graph& graph, ir::ValueId source,
                                              const Shape& wanted, const Expr& last) {
  Shape from = graph.value(source).shape;
  from.back() = last;
  return reshape_target(from, wanted);
}

struct Sink {
  ir::Graph& graph;
  Matcher match;

  // The reshape that feeds input i, when the node is its only reader.
  const ir::Node* reshape_at(const ir::Node& node, size_t i) const {
    const ir::Node* up = graph.producer(node.inputs[i]);
    if (!up || !is_reshape(*up) || !keeps_last_axis(graph, *up) ||
        !match.only_reader(node.inputs[i]).valid())
      return nullptr;
    return up;
  }

  bool below_matmul(ir::NodeId id) {
    const ir::Node node = copy(id);
    const ir::Node* up = reshape_at(node, 0);
    if (!up || !graph.value(node.inputs[1]).is_constant() ||
        graph.value(node.inputs[1]).rank() != 2)
      return false;
    const ir::ValueId source = up->inputs[0];
    const auto target = target_of(graph, source, graph.value(node.outputs[0]).shape,
                                  graph.value(node.outputs[0]).shape.back());
    if (!target) return false;
    const ir::ValueId product = add_like(graph, id, "MatMul", {source, node.inputs[1]});
    return finish(id, node.outputs[0], product, *target);
  }

  bool below_unary(ir::NodeId id) {
    const ir::Node node = copy(id);
    const ir::Node* up = graph.producer(node.inputs[0]);
    if (!up || !match.only_reader(node.inputs[0]).valid()) return false;
    if (up->is("Transpose")) {
      const Attrs attrs = up->attrs;
      const ir::ValueId inner = add_like(graph, id, node.op->name, {up->inputs[0]}, node.attrs);
      replace_with(graph, node.outputs[0], "Transpose", {inner}, attrs, {id});
      graph.remove_node(id);
      return true;
    }
    if (!is_reshape(*up)) return false;
    const auto target =
        reshape_target(graph.value(up->inputs[0]).shape, graph.value(node.outputs[0]).shape);
    if (!target) return false;
    const ir::ValueId inner = add_like(graph, id, node.op->name, {up->inputs[0]}, node.attrs);
    return finish(id, node.outputs[0], inner, *target);
  }

  // Whether v ends a product or convolution and the elementwise nodes after it, read nowhere else.
  bool ends_product(ir::ValueId v, int depth = 0) const {
    const ir::Node* up = graph.producer(v);
    if (!up || !up->op || depth > 8 || !match.only_reader(v).valid()) return false;
    if (up->is("MatMul") || up->is("Conv") || up->is("ConvTranspose")) return true;
    if (!unary_pointwise(*up) && !binary_pointwise(*up)) return false;
    return std::any_of(up->inputs.begin(), up->inputs.end(),
                       [&](ir::ValueId in) { return ends_product(in, depth + 1); });
  }

  // The view of `v` that undoes `view`, a Transpose or Reshape.
  std::optional<ir::ValueId> undone(ir::NodeId like, const ir::Node& view, ir::ValueId v) const {
    if (view.is("Transpose")) {
      const std::vector<int64_t> perm = transpose_perm(graph, view);
      std::vector<int64_t> inverse(perm.size());
      for (size_t axis = 0; axis < perm.size(); ++axis)
        inverse[static_cast<size_t>(perm[axis])] = static_cast<int64_t>(axis);
      return add_like(graph, like, "Transpose", {v}, {{"perm", inverse}});
    }
    const auto target = reshape_target(graph.value(v).shape, graph.value(view.inputs[0]).shape);
    if (!target) return {};
    return add_like(graph, like, "Reshape",
                    {v, add_ints(graph, graph.node(like).name + ".shape", *target)});
  }

  // v = Transpose(x) where x ends a product, both read here only.
  bool ends_transposed_product(ir::ValueId v) const {
    const ir::Node* up = match.from(v, "Transpose");
    return up && match.only_reader(v).valid() && ends_product(up->inputs[0]);
  }

  // The other operand is viewed the other way round. It must not end a product itself: the two
  // would hand the view to each other for ever. Of two products behind views, the one behind the
  // Transpose takes the sum: convolutions come late, and the patterns of fusions need one order.
  bool view_below_residual(ir::NodeId id) {
    const ir::Node node = copy(id);
    for (size_t i = 0; i < 2; ++i) {
      const ir::Node* up = graph.producer(node.inputs[i]);
      const ir::ValueId other = node.inputs[1 - i];
      if (!up || (!up->is("Transpose") && !is_reshape(*up)) ||
          !match.only_reader(node.inputs[i]).valid())
        continue;
      if (!ends_product(up->inputs[0]) || ends_product(other) || graph.value(other).is_constant())
        continue;
      if (is_reshape(*up) && ends_transposed_product(other)) continue;
      const Shape& whole = graph.value(node.outputs[0]).shape;
      if (graph.value(other).shape != whole || graph.value(node.inputs[i]).shape != whole) continue;
      const ir::ValueId source = up->inputs[0];
      const bool transposes = up->is("Transpose");
      const Attrs attrs = up->attrs;
      const auto target = reshape_target(graph.value(source).shape, whole);
      if (!transposes && !target) continue;
      const auto turned = undone(id, *up, other);
      if (!turned) continue;
      std::vector<ir::ValueId> in = {source, source};
      in[1 - i] = *turned;
      const ir::ValueId inner = add_like(graph, id, node.op->name, in, node.attrs);
      if (!transposes) return finish(id, node.outputs[0], inner, *target);
      replace_with(graph, node.outputs[0], "Transpose", {inner}, attrs, {id});
      graph.remove_node(id);
      return true;
    }
    return false;
  }

  bool below_binary(ir::NodeId id) {
    const ir::Node node = copy(id);
    for (size_t i = 0; i < 2; ++i) {
      const ir::Node* up = reshape_at(node, i);
      const ir::ValueId other = node.inputs[1 - i];
      if (!up || !is_row(graph, other) || !graph.value(other).is_constant()) continue;
      if (graph.value(other).rank() > graph.value(up->inputs[0]).rank()) continue;
      const Shape& out = graph.value(node.outputs[0]).shape;
      if (out != graph.value(node.inputs[i]).shape) continue;
      const auto target = target_of(graph, up->inputs[0], out, out.back());
      if (!target) continue;
      std::vector<ir::ValueId> in = {other, other};
      in[i] = up->inputs[0];
      const ir::ValueId inner = add_like(graph, id, node.op->name, in, node.attrs);
      return finish(id, node.outputs[0], inner, *target);
    }
    return false;
  }

 private:
  ir::Node copy(ir::NodeId id) const {
    ir::Node out;
    const ir::Node& node = graph.node(id);
    out.op = node.op;
    out.attrs = node.attrs;
    out.inputs = node.inputs;
    out.outputs = node.outputs;
    return out;
  }
  bool finish(ir::NodeId id, ir::ValueId old_output, ir::ValueId inner,
              const std::vector<int64_t>& target) {
    const ir::ValueId shape = add_ints(graph, graph.node(id).name + ".shape", target);
    replace_with(graph, old_output, "Reshape", {inner, shape}, {}, {id});
    graph.remove_node(id);
    return true;
  }
};

}  // namespace

size_t sink_views(ir::Graph& graph) {
  size_t changes = 0;
  // Nodes are visited in order, so a view sinks through a chain in one sweep; the readers seen by
  // the matcher are those from before the sweep, hence sweeps until nothing moves.
  for (size_t sweep = 0; sweep < 64; ++sweep) {
    size_t moved = 0;
    Sink sink{graph, Matcher(graph)};
    for (ir::NodeId id : graph.topological_order()) {
      const ir::Node& node = graph.node(id);
      if (!node.op || graph.value(node.outputs[0]).dtype != DType::f32) continue;
      bool changed = false;
      if (node.is("MatMul"))
        changed = sink.below_matmul(id);
      else if (unary_pointwise(node))
        changed = sink.below_unary(id);
      else if (binary_pointwise(node))
        changed = sink.below_binary(id) || sink.view_below_residual(id);
      if (changed) {
        ++moved;
        sink.match = Matcher(graph);
      }
    }
    moved += merge_views(graph);
    moved += remove_noops(graph);
    if (moved == 0) break;
    changes += moved;
  }
  return changes;
}

}  // namespace vitrail::passes
