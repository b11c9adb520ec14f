// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "compile/kernel_set.h"
#include "compile/timing_cache.h"
#include "plan/plan.h"

namespace vitrail {

/// Candidates for a problem on this machine, the heuristic choice first: every tactic of the
/// kernels of the highest level that take the problem, and the first tactic of the level below
/// (wide vectors do not always win). Empty when nothing takes it.
std::vector<TimedCandidate> candidates(const Problem& problem, const BoundProblem& bound,
                                       const KernelSet& kernels, int workers);

/// What rounds of times say: `rounds[c][r]` is candidate c in round r, candidate 0 the heuristic
/// one. Another wins only when the median of its ratios to candidate 0, taken round by round, lies
/// below 1 by more than the ratios' spread (between their quartiles) and by 2 %.
struct Verdict {
  size_t winner = 0;
  size_t runner_up = 0;  ///< faster by the medians but not by more than the spread; 0: none
  double gain = 0, spread = 0;
};
Verdict decide(const std::vector<std::vector<double>>& rounds);

struct TuneOptions {
  int workers = 1;
  double budget_seconds = 60;
  KernelSet kernels;
  std::function<void(double)> progress;  ///< 0..1
};

/// Times the candidates of every launch at the plan's tuned points, most expensive problems and opt
/// first, and sets the steps' choices and trials. Problems that data decides keep their heuristic
/// choice. Appends what a user should know to `account`.
void tune(Plan& plan, const TuneOptions& options, TimingCache& cache,
          std::vector<std::string>& account);

}  // namespace vitrail
