// SPDX-License-Identifier: Apache-2.0
#include "compile/compile.h"

#include "passes/pipeline.h"

namespace vitrail {

namespace {

// Squeeze without axes means another rank where a symbolic extent is 1. The rank is the one it has
// while the extent is a symbol, also when a plan is built for one value: outputs keep their batch.
void pin_squeezes(ir::Graph& graph) {
  for (ir::NodeId id : graph.topological_order()) {
    const ir::Node& node = graph.node(id);
    if (!node.is("Squeeze") || node.inputs.size() > 1) continue;
    const Shape& x = graph.value(node.inputs[0]).shape;
    if (is_static(x)) continue;
    std::vector<int64_t> axes;
    for (size_t i = 0; i < x.size(); ++i)
      if (x[i].is(1)) axes.push_back(static_cast<int64_t>(i));
    const ir::ValueId pinned =
        graph.add_constant(node.name + ".axes", Tensor::of<int64_t>({static_cast<int64_t>(axes.size())}, axes));
    graph.node(id).inputs.push_back(pinned);
  }
}

void count_kernels(const Plan& plan, BuildReport& report) {
  for (const Step& step : plan.steps)
    ++report.kernels[step.kind == Step::Kind::launch ? step.problem.family : "reference " + step.op];
  report.steps = plan.steps.size();
  for (const Tensor& t : plan.constants) report.weight_bytes += t.bytes();
}

}  // namespace

Plan compile(const ir::Graph& imported, const BuildOptions& options, BuildReport& report) {
  ir::Graph graph = imported.clone();
  report.nodes_before = graph.node_count();
  pin_squeezes(graph);
  const Bindings opt = apply_shapes(graph, options.shapes);
  graph.infer_all();
  passes::run(graph, {.disabled = options.disabled_passes, .observe = {}});
  report.nodes_after = graph.node_count();
  for (const std::string& w : graph.warnings) report.lines.push_back("warning: " + w);
  Plan plan = make_plan(graph, opt, options, report.lines);
  count_kernels(plan, report);
  plan.account = report.lines;
  return plan;
}

}  // namespace vitrail
