// SPDX-License-Identifier: Apache-2.0
#include "compile/compile.h"

#include "backends/cpu/pool.h"
#include "base/error.h"
#include "compile/account.h"
#include "compile/gpu_plan.h"
#include "compile/tune.h"
#include "passes/pipeline.h"

namespace vitrail {

namespace {

// Where each stage ends on a bar from 0 to 1: by what takes long in most builds.
constexpr double kPassesDone = 0.05, kTuningDone = 0.6;

int worker_count(int threads) { return threads == 0 ? std::min(this_machine().cores, cpu::kMaxThreads) : threads; }

void count_kernels(const Plan& plan, BuildReport& report) {
  for (const Step& step : plan.steps)
    ++report.kernels[step.kind == Step::Kind::launch ? step.problem.family : "reference " + step.op];
  report.steps = plan.steps.size();
  for (const Tensor& t : plan.constants) report.weight_bytes += t.bytes();
}

}  // namespace

Plan build_plan(const ir::Graph& imported, const BuildOptions& options, BuildReport& report, std::span<const CpuKernel* const> kernels) {
  const auto progress = [&](const char* stage, double done) {
    if (options.progress) options.progress(stage, done);
  };
  const int workers = worker_count(options.threads);
  TimingCache cache(options.timing_cache, timing_key(this_machine(), workers));
  progress("passes", 0);
  ir::Graph graph = imported.clone();
  report.nodes_before = graph.node_count();
  const Bindings opt = apply_shapes(graph, options.shapes);
  graph.infer_all();
  passes::run(graph, {.disabled = options.disabled_passes, .observe = {}});
  report.nodes_after = graph.node_count();
  for (const std::string& w : graph.warnings) report.lines.push_back("warning: " + w);
  progress("layout", kPassesDone);
  const std::optional<GpuTarget> gpu = gpu_target(options);
  if (gpu) set_storage(graph, gpu->storage, report.lines);
  Plan plan = make_plan(graph, opt, options, report.lines, gpu ? &*gpu : nullptr);
  if (gpu) add_gpu_code(plan, *gpu);
  count_kernels(plan, report);
  for (std::string& line : account_of_attentions(imported, graph)) report.lines.push_back(std::move(line));
  if (!gpu && options.tune && !options.deterministic) {
    const TuneOptions tuning{.workers = workers, .budget_seconds = options.budget_seconds, .kernels = {.all = kernels, .off = {}},
                             .progress = [&](double done) { progress("tuning", kPassesDone + done * (kTuningDone - kPassesDone)); }};
    tune(plan, tuning, cache, report.lines);
    cache.save();
  }
  progress("verification", kTuningDone);
  const bool good = verify_plan(imported, plan, options, report);
  std::string failed;
  for (const CheckRow& row : report.verification)
    if (!row.ok) failed += fmt::format("; output '{}' at {}: largest error {:.3g}, cosine {:.6f}", printable(row.output), row.at, row.abs_max, row.cosine);
  require(good, Code::accuracy, "the plan differs from the reference{}; no plan is written", failed);
  plan.account = report.lines;
  return plan;
}

}  // namespace vitrail
