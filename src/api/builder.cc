// SPDX-License-Identifier: Apache-2.0
#include "vitrail/builder.h"

#include <chrono>

#include "compile/compile.h"
#include "plan/plan_file.h"

namespace vitrail {

BuildReport build(const Graph& graph, const BuildOptions& options, const std::string& plan_path) {
  const auto start = std::chrono::steady_clock::now();
  const auto stage = [&](const char* name, double done) {
    if (options.progress) options.progress(name, done);
  };
  BuildReport report;
  const Plan plan = build_plan(graph.impl(), options, report);
  stage("writing", 0.97);
  save_plan(plan_path, plan);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  stage("done", 1);
  return report;
}

}  // namespace vitrail
