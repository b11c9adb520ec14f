// SPDX-License-Identifier: Apache-2.0
#include "compile/compile.h"

#include "passes/pipeline.h"

namespace vitrail {

Plan compile(const ir::Graph& imported, const CompileOptions& options) {
  ir::Graph graph = imported.clone();
  const Bindings opt = apply_shapes(graph, options.shapes);
  graph.infer_all();
  passes::run(graph, {.disabled = options.disabled_passes, .observe = {}});
  std::vector<std::string> account;
  Plan plan = make_plan(graph, opt, options, account);
  plan.account = std::move(account);
  return plan;
}

}  // namespace vitrail
