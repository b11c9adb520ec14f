// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

#include "compile/tune.h"

namespace vitrail {

/// What timing the launches that only one of two plans has came to.
struct Versus {
  bool known = false;   ///< false: not everything could be timed
  bool faster = false;  ///< the second plan is
  double first_us = 0;  ///< of what they do not share, at opt
  double second_us = 0;
  std::string why;  ///< why the second was given up before, or not trusted after, timing it all
};

/// Compares two plans of one model, of which `first` is tuned, by the launches that they do not
/// share: each distinct problem counts as often as it is met. `second` wins when its tuned launches
/// are faster at opt, in rounds in which both take turns, by more than the rounds' spread, and at
/// no tuned point slower. It is given up early when it needs more time by its bytes and FLOP alone
/// at the device's peaks, or when its heuristic kernels are far behind. The cache keeps the
/// answers. `second` is tuned when it wins.
Versus compare_plans(const Plan& first, Plan& second, TuningDevice& device,
                     const TuneOptions& options, TimingCache& cache);

}  // namespace vitrail
