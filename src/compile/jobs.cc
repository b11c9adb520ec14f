// SPDX-License-Identifier: Apache-2.0
#include "compile/jobs.h"

#include <algorithm>

#include "kernels/kernel.h"

namespace vitrail {
namespace {

// Equal for a fixed plan and one with ranges.
std::string key_of(const BoundProblem& bound) {
  Problem fixed = *bound.problem;
  const auto set = [](std::vector<Operand>& to, const std::vector<BoundOperand>& from) {
    for (size_t i = 0; i < to.size(); ++i)
      to[i].dims = to_shape(from[i].dims), to[i].strides = to_shape(from[i].strides);
  };
  set(fixed.inputs, bound.inputs);
  set(fixed.outputs, bound.outputs);
  return fixed.str();
}

Tensor constant_of(const Plan& plan, int value) {
  if (value < 0) return {};
  const PlanValue& v = plan.values[static_cast<size_t>(value)];
  const PlanBuffer& b = plan.buffers[static_cast<size_t>(v.buffer)];
  if (b.kind != PlanBuffer::Kind::constant || !v.offset.is(0)) return {};
  return plan.constants[static_cast<size_t>(b.constant)];
}

using Guards = std::map<const Step*, std::vector<PlanGuard>>;

// The guards under which each step runs.
void collect_guards(const Block& block, const std::vector<PlanGuard>& around, Guards& out) {
  for (const Step& step : block) {
    out[&step] = around;
    for (size_t i = 0; i < step.blocks.size(); ++i) {
      std::vector<PlanGuard> inner = around;
      if (i < step.block_guards.size())
        inner.insert(inner.end(), step.block_guards[i].begin(), step.block_guards[i].end());
      collect_guards(step.blocks[i], inner, out);
    }
  }
}

// What data decides is taken to hold.
bool hold(const std::vector<PlanGuard>& guards, const Bindings& at) {
  return std::all_of(guards.begin(), guards.end(), [&](const PlanGuard& g) {
    std::set<std::string> used;
    g.a.collect_symbols(used), g.b.collect_symbols(used);
    return std::any_of(used.begin(), used.end(),
                       [&](const std::string& s) { return !at.contains(s); }) ||
           g.a.eval(at) == g.b.eval(at);
  });
}

}  // namespace

std::vector<Tensor> weights_of(const Plan& plan, const Step& step) {
  std::vector<Tensor> out;
  for (int value : step.inputs) out.push_back(constant_of(plan, value));
  return out;
}

bool from_cache(Job& job, const TimingCache& cache) {
  const Timing* known = cache.find(job.key);
  const auto same = [](const TimedCandidate& a, const TimedCandidate& b) {
    return a.kernel == b.kernel && a.tactic == b.tactic;
  };
  if (!known || !std::equal(known->candidates.begin(), known->candidates.end(),
                            job.candidates.begin(), job.candidates.end(), same))
    return false;
  job.timing = *known;
  return job.done = true;
}

PlanJobs jobs_of(const Plan& plan, TuningDevice& device) {
  PlanJobs out;
  out.points = tuned_points(plan);
  Guards guards;
  collect_guards(plan.steps, plan.guards, guards);
  for_each_step(plan.steps, [&](const Step& step) {
    if (step.kind != Step::Kind::launch) return;
    auto& keys = out.keys[&step];
    keys.resize(out.points.size());
    const std::set<std::string> symbols = symbols_of(step.problem);
    for (size_t p = 0; p < out.points.size(); ++p) {
      const Bindings& at = out.points[p].at;
      // Operands contradict one another where the guards do not hold.
      if (!hold(guards.at(&step), at)) continue;
      if (std::any_of(symbols.begin(), symbols.end(),
                      [&](const std::string& name) { return !at.contains(name); }))
        continue;
      BoundProblem bound = vitrail::bind(step.problem, at);
      const auto empty = [](const BoundOperand& o) { return element_count(o.dims) == 0; };
      if (std::any_of(bound.outputs.begin(), bound.outputs.end(), empty)) continue;
      keys[p] = key_of(bound) + device.circumstances(step.problem, bound);
      Job& job = out.jobs[keys[p]];
      if (!job.step) {
        job.step = &step;
        job.at = at;
        job.key = keys[p];
        job.candidates = device.candidates(step.problem, bound);
        job.bound = std::move(bound);
      }
      job.opt |= out.points[p].opt;
      job.cost += device.estimate(job.bound);
    }
  });
  return out;
}

}  // namespace vitrail
