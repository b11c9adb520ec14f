// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "compile/jobs.h"

namespace vitrail {

/// What each of Plan::steps runs at some extents.
using StepChoices = std::vector<KernelChoice>;

/// A change of a plan that may make it faster, of launches that are alike in some way.
struct Trial {
  enum class Kind : uint8_t { edge, division, kernel } kind = Kind::edge;
  std::string subject, what;  ///< "all launches", "full edge"
  std::vector<size_t> steps;
  std::function<void(KernelChoice&)> edit;

  StepChoices on(StepChoices choices) const {
    for (const size_t step : steps) edit(choices[step]);
    return choices;
  }
};

/// "gemm_cuda_mma rows=64, full edge".
std::string text_of(const KernelChoice& choice);

/// The other edge and the other division of memory, for all launches and those of each kernel
/// (`wide`), or for those of one problem and choice.
std::vector<Trial> setting_trials(const Plan& plan, const StepChoices& now, bool wide);

/// The kernels and tactics that were nearly as fast as the chosen ones when each was timed alone,
/// at the jobs' point, and the heuristic choices.
std::vector<Trial> kernel_trials(const Plan& plan, const StepChoices& now, PlanJobs& jobs,
                                 size_t point, const TimingCache& cache);

}  // namespace vitrail
