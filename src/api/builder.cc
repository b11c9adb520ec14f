// SPDX-License-Identifier: Apache-2.0
#include "vitrail/builder.h"

#include <chrono>

#include "base/error.h"
#include "base/machine.h"
#include "compile/compile.h"
#include "plan/plan_file.h"
#include "runtime/executor.h"

namespace vitrail {

BuildReport build(const Graph& graph, const BuildOptions& options, const std::string& plan_path) {
  const auto start = std::chrono::steady_clock::now();
  const auto stage = [&](const char* name, double done) {
    if (options.progress) options.progress(name, done);
  };
  BuildReport report;
  stage("compile", 0);
  Plan plan = compile(graph.impl(), options, report);
  const Machine& machine = this_machine();
  plan.tuned_for = fmt::format("{}, {}", machine.model, name_of(machine.isa));
  stage("verify", 0.5);
  if (!verify_plan(graph.impl(), plan, options, report)) {
    std::string failed;
    for (const CheckRow& row : report.verification)
      if (!row.ok) failed += fmt::format("; output '{}' at {}: largest error {:.3g}, cosine {:.6f}", printable(row.output), row.at, row.abs_max, row.cosine);
    fail(Code::accuracy, "the plan differs from the reference{}; no plan is written", failed);
  }
  stage("write", 0.9);
  save_plan(plan_path, plan);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  stage("done", 1);
  return report;
}

}  // namespace vitrail
