// SPDX-License-Identifier: Apache-2.0
#include "compile/gpu_plan_stand.h"

#include <algorithm>
#include <limits>

#include "backends/cuda/driver.h"
#include "base/error.h"
#include "compare/difference.h"
#include "compile/choices.h"
#include "compile/gpu_stand.h"
#include "runtime/executor.h"

namespace vitrail {

Plan plan_of_variants(const Plan& plan, const std::vector<StepChoices>& variants) {
  Plan out = plan;
  const auto last = static_cast<int64_t>(variants.size()) - 1;
  out.symbols.push_back({.name = kPlanVariant,
                         .kind = PlanSymbol::Kind::bind,
                         .min = 0,
                         .opt = 0,
                         .max = last,
                         .bound = {},
                         .profiles = {}});
  for (size_t i = 0; i < out.steps.size(); ++i) {
    std::vector<KernelChoice>& choices = out.steps[i].choices;
    choices.clear();
    // Most steps are the same in most variants: those run the first's.
    for (size_t v = 1; v < variants.size(); ++v) {
      if (same(variants[v][i], variants[0][i])) continue;
      const auto at = static_cast<int64_t>(v);
      choices.push_back(variants[v][i]);
      choices.back().when = {{kPlanVariant, {at, at}}};
    }
    choices.push_back(variants[0][i]);
    choices.back().when.clear();
  }
  return out;
}

GpuPlanStand::GpuPlanStand(const GpuTarget& target, const KernelSet& kernels,
                           CodeCompiler& compiler)
    : target_(target), kernels_(kernels), compiler_(compiler) {}
GpuPlanStand::~GpuPlanStand() = default;

void GpuPlanStand::open(const Plan& plan, const Bindings& at,
                        const std::vector<StepChoices>& variants) {
  Plan all = plan_of_variants(plan, variants);
  std::vector<Bindings> points(variants.size(), at);
  for (size_t v = 0; v < variants.size(); ++v) points[v][kPlanVariant] = static_cast<int64_t>(v);
  add_gpu_code(all, target_, kernels_, compiler_, points);
  executor_ = std::make_unique<Executor>(
      std::make_shared<const Plan>(std::move(all)),
      ExecutorOptions{.threads = 1,
                      .device = fmt::format("cuda:{}", target_.machine.device),
                      .bindings = variants.size()});
  std::vector<Tensor> inputs;
  for (const PlanTensorInfo& input : plan.inputs) {
    const PlanValue& v = plan.values[static_cast<size_t>(input.value)];
    const Dims dims = eval(v.dims, at);
    // What is no float may be positions in something: the first.
    inputs.push_back(is_float(v.dtype) ? varied(v.dtype, dims)
                                       : random_tensor(v.dtype, dims, 1, 0, 1));
    executor_->set_input(inputs.size() - 1, inputs.back());
  }
  for (const PlanSymbol& s : plan.symbols)
    if (s.kind == PlanSymbol::Kind::bind) executor_->set_symbol(s.name, at.at(s.name));
  // All are bound before any is recorded: memory that grows moves, and recordings are forgotten.
  runs_.assign(variants.size(), true);
  for (size_t v = variants.size(); v-- > 0;) take(v);
  require(runs_[0] && executor_->one_graph(), Code::unsupported, "it is not one recorded graph");
  executor_->run();                 // what the device multiplies are numbers that the model meets
  constexpr double kEnough = 1000;  // microseconds that are counted well
  const double us = executor_->time_replay(0);
  replays_ = std::clamp(static_cast<int>(kEnough / std::max(us, 1.0)), 1, 16);
}

// Variants that cannot run are not taken: too much workspace, a library without an algorithm.
void GpuPlanStand::take(size_t variant) {
  executor_->set_symbol(kPlanVariant, static_cast<int64_t>(variant));
  try {
    executor_->bind();
  } catch (const Error& error) {
    if ((error.code != Code::unsupported && error.code != Code::resource) || cuda::lost()) throw;
    runs_[variant] = false;
  }
}

double GpuPlanStand::run(size_t variant) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  if (!runs_.at(variant)) return kNever;
  take(variant);
  if (!runs_[variant]) return kNever;
  try {
    return executor_->time_replay(0, replays_);
  } catch (const Error& error) {
    if ((error.code != Code::unsupported && error.code != Code::resource) || cuda::lost()) throw;
    runs_[variant] = false;
    return kNever;
  }
}

void GpuPlanStand::close() {
  executor_.reset();
  runs_.clear();
}

}  // namespace vitrail
