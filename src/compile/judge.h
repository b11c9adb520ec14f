// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

#include "compile/plan_trials.h"

namespace vitrail {

/// Runs a plan whole, with one set of choices or another. One plan is open at a time.
class PlanStand {
 public:
  virtual ~PlanStand() = default;
  /// `at`: the symbols. Throws Error(resource or unsupported) when the plan cannot be timed there.
  virtual void open(const Plan& plan, const Bindings& at,
                    const std::vector<StepChoices>& variants) = 0;
  /// Microseconds of a run of the open plan's variant; infinity: it does not run.
  virtual double run(size_t variant) = 0;
  /// Also after an open() that threw.
  virtual void close() = 0;
};

/// The last stage of tuning. What a launch costs among others is not what it costs in a row of its
/// own, so changes of a tuned plan (plan_trials.h) are judged by the time of the whole plan. Those
/// that promise something in three rounds of all are run again by turns, best first; one that wins
/// by the rule of decide() is kept, and all together when they win beside the plan as it was. Each
/// tuned point of the first set of ranges is judged by itself, opt first, and what is kept holds in
/// its interval. The cache keeps every answer.
void judge_in_plan(Plan& plan, TuningDevice& device, PlanStand& stand, const TuneOptions& options,
                   TimingCache& cache, std::vector<std::string>& account);

}  // namespace vitrail
