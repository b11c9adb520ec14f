// SPDX-License-Identifier: Apache-2.0
// One form for what can be written in several:
//   Gemm(A, B, C)                     =>   Add(Mul(MatMul(A or A^T, B or B^T), alpha), Mul(C,
//   beta)) Conv(x, w, b)                     =>   Add(Conv(x, w), b as [c, 1, 1]); ConvTranspose
//   alike ReduceX(x, keepdims 0)            =>   Squeeze(ReduceX(x, keepdims 1)) Div(x, power of
//   two)              =>   Mul(x, 1 / constant) Mul(constant, x)                  =>   Mul(x,
//   constant); Add alike Sqrt(ReduceSum(x^2))              =>   ReduceL2(x) Max(x, scalar) =>
//   Clip(x, least scalar)
#include <cmath>
#include <numeric>

#include "passes/match.h"
#include "passes/passes.h"

namespace vitrail::passes {
namespace {

// A constant is transposed now; anything else by a node.
ir::ValueId transposed(ir::Graph& graph, ir::NodeId like, ir::ValueId v) {
  return add_like(graph, like, "Transpose", {v}, {{"perm", std::vector<int64_t>{1, 0}}});
}
ir::ValueId scaled(ir::Graph& graph, ir::NodeId like, ir::ValueId v, double factor) {
  if (factor == 1) return v;
  return add_like(
      graph, like, "Mul",
      {v, add_scalar(graph, graph.node(like).name + ".factor", static_cast<float>(factor))});
}

bool lower_gemm(ir::Graph& graph, ir::NodeId id) {
  const Attrs attrs = graph.node(id).attrs;
  const std::vector<ir::ValueId> in = graph.node(id).inputs;
  const ir::ValueId out = graph.node(id).outputs[0];
  if (graph.value(out).dtype != DType::f32) return false;
  ir::ValueId a = in[0], b = in[1];
  if (attrs.integer("transA", 0)) a = transposed(graph, id, a);
  if (attrs.integer("transB", 0)) b = transposed(graph, id, b);
  const bool has_c = in.size() > 2 && in[2].valid() && attrs.number("beta", 1.0) != 0;
  const double alpha = attrs.number("alpha", 1.0);
  if (!has_c && alpha == 1) {
    replace_with(graph, out, "MatMul", {a, b}, {}, {id});
  } else if (!has_c) {
    const ir::ValueId product = add_like(graph, id, "MatMul", {a, b});
    replace_with(graph, out, "Mul",
                 {product, add_scalar(graph, "alpha", static_cast<float>(alpha))}, {}, {id});
  } else {
    const ir::ValueId product = scaled(graph, id, add_like(graph, id, "MatMul", {a, b}), alpha);
    const ir::ValueId c = scaled(graph, id, in[2], attrs.number("beta", 1.0));
    replace_with(graph, out, "Add", {product, c}, {}, {id});
  }
  graph.remove_node(id);
  return true;
}

bool split_bias(ir::Graph& graph, ir::NodeId id) {
  const ir::Node& node = graph.node(id);
  if (node.inputs.size() < 3 || !node.inputs[2].valid() ||
      !graph.value(node.inputs[2]).is_constant())
    return false;
  const std::vector<ir::ValueId> in = node.inputs;
  const ir::ValueId out = node.outputs[0];
  Dims dims = graph.value(in[2]).constant.dims();
  for (size_t i = 2; i < graph.value(out).rank(); ++i) dims.push_back(1);
  const ir::ValueId bias =
      graph.add_constant(graph.value(in[2]).name, graph.value(in[2]).constant.reshaped(dims));
  const ir::ValueId product = add_like(graph, id, node.op->name, {in[0], in[1]}, node.attrs);
  replace_with(graph, out, "Add", {product, bias}, {}, {id});
  graph.remove_node(id);
  return true;
}

bool keep_dims(ir::Graph& graph, ir::NodeId id) {
  const ir::Node& node = graph.node(id);
  const std::string op = node.op->name;
  if (op.rfind("Reduce", 0) != 0 || node.attrs.integer("keepdims", 1) != 0) return false;
  const ir::ValueId out = node.outputs[0];
  if (graph.value(out).dtype != DType::f32) return false;
  std::vector<ir::ValueId> in = node.inputs;
  const bool given = in.size() > 1 && in[1].valid();
  if (given && !graph.value(in[1]).is_constant()) return false;
  if (!given || graph.value(in[1]).constant.size() == 0) {  // all axes
    std::vector<int64_t> all(graph.value(in[0]).rank());
    if (all.empty() || node.attrs.integer("noop_with_empty_axes", 0) != 0) return false;
    std::iota(all.begin(), all.end(), 0);
    in.resize(2);
    in[1] = add_ints(graph, node.name + ".axes", all);
  }
  Attrs attrs = node.attrs;
  attrs.set("keepdims", int64_t{1});
  const ir::ValueId kept = add_like(graph, id, op, in, attrs);
  replace_with(graph, out, "Squeeze", {kept, in[1]}, {}, {id});
  graph.remove_node(id);
  return true;
}

// x / c = x * (1/c) exactly when c is a power of two; otherwise both round once in their own way
// and the result may differ in the last bit, so only exact cases are rewritten.
bool divide(ir::Graph& graph, ir::NodeId id) {
  const ir::Node& node = graph.node(id);
  const ir::ValueId out = node.outputs[0];
  const auto c = scalar_constant(graph, node.inputs[1]);
  if (!c || graph.value(out).dtype != DType::f32) return false;
  int exponent;
  if (std::fabs(std::frexp(*c, &exponent)) != 0.5 || std::abs(exponent) > 126)
    return false;  // 1/c is normal, too
  const std::vector<ir::ValueId> in = node.inputs;
  Tensor inverse(DType::f32, graph.value(in[1]).constant.dims());
  inverse.mutable_data<float>()[0] = static_cast<float>(1.0 / *c);
  replace_with(graph, out, "Mul", {in[0], graph.add_constant(graph.value(in[1]).name, inverse)}, {},
               {id});
  graph.remove_node(id);
  return true;
}

// Patterns then look for constants on the right only.
bool constant_right(ir::Graph& graph, ir::NodeId id) {
  std::vector<ir::ValueId>& in = graph.node(id).inputs;
  if (!graph.value(in[0]).is_constant() || graph.value(in[1]).is_constant()) return false;
  std::swap(in[0], in[1]);
  return true;
}

bool euclidean_norm(ir::Graph& graph, ir::NodeId id) {
  const Matcher match(graph);
  const ir::ValueId out = graph.node(id).outputs[0], summed = graph.node(id).inputs[0];
  if (graph.value(out).dtype != DType::f32) return false;
  const ir::Node* sum = match.from(summed, "ReduceSum");
  if (!sum) sum = match.from(summed, "ReduceSumSquare");
  if (!sum) return false;
  std::vector<ir::ValueId> in = sum->inputs;
  if (sum->is("ReduceSum")) {
    const ir::Node *pow = match.from(in[0], "Pow"), *mul = match.from(in[0], "Mul");
    const bool square =
        pow ? match.scalar(pow->inputs[1]) == 2 : mul && mul->inputs[0] == mul->inputs[1];
    const ir::ValueId x = square ? (pow ? pow : mul)->inputs[0] : ir::kNoValue;
    if (!square || graph.value(x).shape != graph.value(in[0]).shape) return false;
    in[0] = x;
  }
  const Attrs attrs = sum->attrs;
  replace_with(graph, out, "ReduceL2", in, attrs, {graph.value(summed).producer, id});
  graph.remove_node(id);
  return true;
}

bool lower_bound(ir::Graph& graph, ir::NodeId id) {
  const std::vector<ir::ValueId> in = graph.node(id).inputs;
  const ir::ValueId out = graph.node(id).outputs[0];
  if (in.size() != 2 || graph.value(out).dtype != DType::f32) return false;
  for (size_t i = 0; i < 2; ++i) {
    const auto least = scalar_constant(graph, in[i]);
    const ir::ValueId x = in[1 - i];
    if (!least || graph.value(x).is_constant() || graph.value(x).shape != graph.value(out).shape)
      continue;
    replace_with(graph, out, "Clip",
                 {x, add_scalar(graph, graph.value(in[i]).name, static_cast<float>(*least))}, {},
                 {id});
    graph.remove_node(id);
    return true;
  }
  return false;
}

}  // namespace

size_t lower_forms(ir::Graph& graph) {
  size_t changes = 0;
  for (ir::NodeId id : graph.topological_order()) {
    const ir::Node& node = graph.node(id);
    if (!node.op) continue;
    if (node.is("Gemm"))
      changes += lower_gemm(graph, id);
    else if (node.is("Conv") || node.is("ConvTranspose"))
      changes += split_bias(graph, id);
    else if (node.is("Div"))
      changes += divide(graph, id);
    else if (node.is("Mul") || node.is("Add"))
      changes += constant_right(graph, id);
    else if (node.is("Sqrt"))
      changes += euclidean_norm(graph, id);
    else if (node.is("Max"))
      changes += lower_bound(graph, id);
    else
      changes += keep_dims(graph, id);
  }
  return changes + graph.remove_dead();
}

}  // namespace vitrail::passes
