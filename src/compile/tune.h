// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "compile/timing_cache.h"
#include "plan/plan.h"

namespace vitrail {

/// What rounds of times say: `rounds[c][r]` is candidate c in round r, candidate 0 the heuristic
/// one. Another wins only when the median of its ratios to candidate 0, taken round by round, lies
/// below 1 by more than the ratios' spread (between their quartiles) and by `least_gain`.
struct Verdict {
  size_t winner = 0;
  size_t runner_up = 0;  ///< faster by the medians but not by more than the spread; 0: none
  double gain = 0, spread = 0;
};
Verdict decide(const std::vector<std::vector<double>>& rounds, double least_gain = 0.02);

/// A problem at fixed extents as a step of the plan meets it.
struct TuningJob {
  const Step* step = nullptr;
  Bindings at;         ///< of the plan's input symbols
  BoundProblem bound;  ///< step->problem at these
  std::vector<TimedCandidate> candidates;
};

/// What the tuner asks of the device that a plan is for. One job is open at a time.
class TuningDevice {
 public:
  virtual ~TuningDevice() = default;
  /// As the account names it: "2 workers".
  virtual std::string name() const = 0;
  /// Candidates, the heuristic choice first; empty when nothing takes the problem.
  virtual std::vector<TimedCandidate> candidates(const Problem& problem,
                                                 const BoundProblem& bound) = 0;
  /// A time that no kernel stays below, by the device's peaks; 0: not known.
  virtual double least_us(const BoundProblem&) const { return 0; }
  /// What its timings depend on besides the problem at these extents; part of their key.
  virtual std::string circumstances(const Problem&, const BoundProblem&) const { return {}; }
  /// Seconds of one launch, roughly: for the order in which problems are timed. 0: not known.
  virtual double estimate(const BoundProblem&) const { return 0; }
  /// Microseconds that a launch costs a plan beside what run() says.
  virtual double step_us() const { return 0; }
  /// What will be opened, in this order, as far as the budget reaches.
  virtual void announce(const std::vector<const TuningJob*>&) {}
  /// Gets ready to run the candidates. `weights[i]`: the content of input i (from its element 0),
  /// an undefined tensor for one that varies. Throws Error(resource) when the job is too large for
  /// the memory at hand: it keeps its heuristic choice.
  virtual void open(const TuningJob& job, const std::vector<Tensor>& weights) = 0;
  /// Microseconds of one launch of the open job's candidate; infinity: it does not run there.
  virtual double run(size_t candidate) = 0;
  /// Also after an open() that threw.
  virtual void close() = 0;
  /// Notes in the plan what its choices were timed on.
  virtual void sign(Plan& plan) const = 0;
};

struct TuneOptions {
  double budget_seconds = 60;
  std::function<void(double)> progress;  ///< 0..1
};

/// Times the candidates of every launch at the plan's tuned points, most expensive problems and opt
/// first, and sets the steps' choices and trials. Problems that data decides keep their heuristic
/// choice. Appends what a user should know to `account`.
void tune(Plan& plan, TuningDevice& device, const TuneOptions& options, TimingCache& cache,
          std::vector<std::string>& account);

}  // namespace vitrail
