// SPDX-License-Identifier: Apache-2.0
#include "compile/rounded.h"

#include <algorithm>

#include "compile/compile.h"
#include "oracle/oracle.h"
#include "passes/pipeline.h"

namespace vitrail {

bool has_yardstick(const ir::Graph& imported) {
  const auto order = imported.topological_order();
  return std::none_of(order.begin(), order.end(), [&](ir::NodeId id) {
    return !imported.node(id).is_fusion() && !imported.node(id).bodies.empty();
  });
}

std::vector<Tensor> run_rounded(const ir::Graph& imported, const std::vector<Tensor>& inputs,
                                Rounding rounding, DType precision,
                                const std::vector<std::string>& disabled_passes) {
  require(has_yardstick(imported), Code::unsupported,
          "model '{}' has control flow, whose values stay in float32: nothing is rounded",
          printable(imported.name));
  ir::Graph graph = imported.clone();
  std::map<std::string, ShapeRange> shapes;
  for (size_t i = 0; i < std::min(inputs.size(), graph.inputs.size()); ++i) {
    const Dims& dims = inputs[i].dims();
    if (!is_static(graph.value(graph.inputs[i]).shape))
      shapes[graph.value(graph.inputs[i]).name] = {dims, dims, dims};
  }
  apply_shapes(graph, shapes);
  graph.infer_all();
  passes::run(graph, {.disabled = disabled_passes, .observe = {}});

  oracle::Options options;
  options.precision = precision;
  options.rounding = rounding;
  options.rounded.assign(graph.value_count(), false);
  for (const auto& [value, type] : narrow_values(graph, {.values = DType::f16}))
    options.rounded[value.index] = true;
  for (ir::ValueId v : graph.inputs) options.rounded[v.index] = true;
  for (ir::NodeId id : graph.topological_order()) {
    const ir::Node& node = graph.node(id);
    for (ir::ValueId v : node.inputs)
      if (has_narrow_weights(node.family) && v.valid() && graph.value(v).is_constant() &&
          graph.value(v).rank() > 1)
        options.rounded[v.index] = true;
  }
  return oracle::run(graph, inputs, options);
}

}  // namespace vitrail
