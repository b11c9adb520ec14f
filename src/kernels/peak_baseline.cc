// SPDX-License-Identifier: Apache-2.0
#include "kernels/peak_body.h"

namespace vitrail {
float peak_baseline(int64_t rounds, double* flop);
float peak_baseline(int64_t rounds, double* flop) {
  *flop = kPeakRound;
  return peak_loop(rounds);
}
}  // namespace vitrail
