// SPDX-License-Identifier: Apache-2.0
#include "vitrail/builder.h"

#include <algorithm>
#include <chrono>

#include "base/progress.h"
#include "compile/compile.h"
#include "compile/nvrtc.h"
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
std::string default_code_cache() { return default_cache_folder(); }

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
