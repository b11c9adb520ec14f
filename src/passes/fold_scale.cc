// SPDX-License-Identifier: Apache-2.0
// Conv(Mul(x, s), w)     =>   Conv(x, s * w)
// MatMul(Mul(x, s), W)   =>   MatMul(x, s * W)
//
// for a scalar constant s and constant weights: s * 0 is 0, so padding commutes with it. What is
// left of a Gelu when a simplifier has moved its 0.5 into the next weights (Mul(Gelu(x), 2)) goes
// back there. Near misses that must stay: a product that is read twice, weights that are no
// constant, a product that float32 cannot hold.
#include <cmath>

#include "passes/match.h"
#include "passes/passes.h"

namespace vitrail::passes {

size_t fold_scale(ir::Graph& graph) {
  size_t changes = 0;
  for (ir::NodeId id : graph.topological_order()) {
    const ir::Node& node = graph.node(id);
    if ((!node.is("Conv") && !node.is("MatMul")) ||
        graph.value(node.outputs[0]).dtype != DType::f32)
      continue;
    const ir::Node* scale = graph.producer(node.inputs[0]);
    if (!scale || !scale->is("Mul")) continue;  // readers are found anew only where they are asked
    const Matcher match(graph);
    const ir::Value& weight = graph.value(node.inputs[1]);
    const ir::Node* mul = match.from(node.inputs[0], "Mul");
    if (!mul || !weight.is_constant() || !match.only_reader(node.inputs[0]).valid()) continue;
    const auto scaled = match.with_scalar(*mul);
    if (!scaled || !std::isfinite(scaled->number)) continue;
    Tensor product(DType::f32, weight.constant.dims());
    bool exact = true;  // neither overflows nor loses digits to underflow
    for (int64_t i = 0; i < product.size(); ++i) {
      const double wanted = scaled->number * static_cast<double>(weight.constant.data<float>()[i]);
      const auto rounded = static_cast<float>(wanted);
      product.mutable_data<float>()[i] = rounded;
      exact &= wanted == 0 || std::isnormal(rounded);
    }
    if (!exact) continue;
    const ir::NodeId mul_id = graph.value(node.inputs[0]).producer;
    std::vector<ir::ValueId> inputs = node.inputs;
    inputs[0] = scaled->value;
    inputs[1] = graph.add_constant(weight.name, product);
    const char* op = node.op->name;
    const Attrs attrs = node.attrs;
    replace_with(graph, node.outputs[0], op, std::move(inputs), attrs, {mul_id, id});
    graph.remove_node(id);
    ++changes;
  }
  return changes + graph.remove_dead();
}

}  // namespace vitrail::passes
