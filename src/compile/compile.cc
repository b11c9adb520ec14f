// SPDX-License-Identifier: Apache-2.0
#include "compile/compile.h"

#include "passes/pipeline.h"

namespace vitrail {

namespace {

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
