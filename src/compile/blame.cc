// SPDX-License-Identifier: Apache-2.0
// Which kernel or pass made a plan differ from its reference.
#include <algorithm>
#include <set>

#include "base/error.h"
#include "compare/difference.h"
#include "compile/compile.h"
#include "compile/replay.h"
#include "compile/verify.h"
#include "oracle/oracle.h"
#include "passes/pipeline.h"

namespace vitrail {
namespace {

bool agree(const std::vector<Tensor>& got, const std::vector<Tensor>& wanted,
           const BuildOptions& options) {
  for (size_t i = 0; i < got.size(); ++i) {
    const Difference d = compare(got[i], wanted[i], tolerance(wanted[i], options, 1), 0);
    if (!d.same_shape || d.outside > 0) return false;
  }
  return true;
}

// The first launch whose result lies outside the tolerance when it reads the reference's values.
Blame guilty_kernel(Replay& replay, const BuildOptions& options) {
  Blame found;
  const auto is_launch = [&](int index) {
    return replay.steps()[static_cast<size_t>(index)].step->kind == Step::Kind::launch;
  };
  const auto judge = [&](Replay::Round round, int value, const Tensor& wanted) {
    const BoundStep* bound = replay.executor().bound_step(round.index);
    if (found.kind != Blame::Kind::nothing || !is_launch(round.index) || !bound ||
        !(bound->kernel || bound->choice))
      return;
    const double allowed = tolerance(wanted, options, 0);
    const Difference d = compare(replay.executor().read_value(value), wanted, allowed, 0);
    if (d.same_shape && d.outside == 0) return;
    found = {Blame::Kind::kernel, bound->kernel ? bound->kernel->name : bound->choice->kernel,
             fmt::format("step '{}' differs from its reference by {:.3g}, allowed are {:.3g}",
                         printable(replay.steps()[static_cast<size_t>(round.index)].path),
                         d.abs.max, allowed)};
  };
  while (found.kind == Blame::Kind::nothing && replay.next_window()) replay.run(is_launch, judge);
  return found;
}

}  // namespace

Blame find_blame(const ir::Graph& imported, const ir::Graph& fused, const Plan& plan,
                 const BuildOptions& options, const KernelSet& kernels,
                 std::span<const passes::Pass> passes, const FailedTrial& trial,
                 References& references) {
  Replay replay({&fused}, std::shared_ptr<const Plan>(&plan, [](const Plan*) {}), trial.inputs,
                {.executor = {.threads = options.threads,
                              .poison = true,
                              .kernels = kernels.all,
                              .device = options.device}});
  Blame kernel = guilty_kernel(replay, options);
  if (kernel.kind != Blame::Kind::nothing) return kernel;
  const std::vector<Tensor>& wanted = references.outputs(trial.key, trial.inputs);
  if (agree(replay.outputs().empty() ? oracle::run(fused, trial.inputs) : replay.outputs(), wanted,
            options))
    return {};
  std::set<std::string> tried(options.disabled_passes.begin(), options.disabled_passes.end());
  for (const passes::Pass& pass : passes) {
    if (!tried.insert(pass.name).second) continue;
    ir::Graph graph = imported.clone();
    apply_shapes(graph, options.shapes);
    graph.infer_all();
    std::vector<std::string> disabled = options.disabled_passes;
    disabled.emplace_back(pass.name);
    passes::run(
        graph,
        {.disabled = disabled, .observe = {}, .passes = passes, .gpu = options.device != "cpu"});
    if (agree(oracle::run(graph, trial.inputs), wanted, options))
      return {Blame::Kind::pass, pass.name,
              "the graph it leaves does not mean what the model means"};
  }
  return {};
}

}  // namespace vitrail
