// SPDX-License-Identifier: Apache-2.0
#include "vitrail/builder.h"

#include <algorithm>
#include <chrono>

#include "api/memory.h"
#include "base/error.h"
#include "base/progress.h"
#include "compile/compile.h"
#include "compile/nvrtc.h"
#include "ir/text.h"
#include "plan/plan_file.h"

namespace vitrail {

std::function<void(const std::string&, double)> show_progress() {
  struct Shown {
    std::unique_ptr<Progress> progress = make_progress();
    int64_t done = -1;
  };
  return [shown = std::make_shared<Shown>()](const std::string& stage, double done) {
    if (shown->done < 0) shown->progress->begin("build", kShare);
    const int64_t before = std::max<int64_t>(shown->done, 0);
    shown->done = std::clamp(static_cast<int64_t>(done * kShare), before, kShare);
    shown->progress->advance(shown->done - before, stage);
    if (shown->done == kShare) shown->progress->end();
  };
}
std::string default_cache() { return default_cache_folder(); }

BuildReport build(const Graph& graph, const BuildOptions& options, const std::string& plan_path) {
  const auto start = std::chrono::steady_clock::now();
  const auto stage = [&](const char* name, double done) {
    if (options.progress) options.progress(name, done);
  };
  BuildReport report;
  const Plan plan = build_plan(graph.impl(), options, report);
  stage("writing", 0.97);
  save_plan(plan_path, plan);
  report.arena_bytes = working_memory(plan, options.threads);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  stage("done", 1);
  return report;
}

Graph Graph::from_plan(const std::string& path) {
  const PlanFile file = load_plan_file(path, WeightCheck::on_request);
  const Plan& plan = *file.targets.at(0);
  require(
      !plan.source_graph.empty(), Code::usage,
      "'{}' does not keep the model it was built from (--no-retune); build from the model itself",
      printable(path));
  file.verify_weights();
  return with_context(fmt::format("the model kept in '{}'", printable(path)), [&] {
    return Graph(std::make_unique<ir::Graph>(ir::parse(plan.source_graph, &plan.source_constants)));
  });
}

BuildOptions options_of_plan(const std::string& path) {
  const PlanFile file = load_plan_file(path, WeightCheck::on_request);
  const Plan& plan = *file.targets.at(0);
  BuildOptions out;
  out.shapes = ranges_of(plan);
  out.profiles = profiles_of(plan);
  for_each_step(plan.steps, [&](const Step& s) { out.deterministic |= s.problem.fixed_order; });
  return out;
}

}  // namespace vitrail
