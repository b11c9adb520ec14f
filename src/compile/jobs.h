// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <set>
#include <string>
#include <vector>

#include "compile/choices.h"
#include "compile/tune.h"
#include "kernels/work.h"

namespace vitrail {

struct Job : TuningJob {
  std::string key;   ///< the problem's text with numbers for extents
  bool opt = false;  ///< met at an opt
  double cost = 0;   ///< estimated seconds of all launches that meet it
  Timing timing;
  bool done = false;  ///< `timing` is known
};

/// What a plan launches at its tuned points. Points into the plan.
struct PlanJobs {
  std::vector<TunedPoint> points;
  std::map<std::string, Job> jobs;
  /// Of each launch at each point; empty: nothing to do there, extents that data decide, or
  /// guards that do not hold.
  std::map<const Step*, std::vector<std::string>> keys;
};
PlanJobs jobs_of(const Plan& plan, TuningDevice& device);
/// Takes the timing that the cache has of the job; false when it has none of these candidates.
bool from_cache(Job& job, const TimingCache& cache);

/// Contents of a step's inputs that are constants of the plan.
std::vector<Tensor> weights_of(const Plan& plan, const Step& step);
double median(std::vector<double> values);

}  // namespace vitrail
