// SPDX-License-Identifier: Apache-2.0
#include "kernels/peak_body.h"

namespace vitrail {
float peak_avx2(int64_t rounds, double* flop);
float peak_avx2(int64_t rounds, double* flop) {
  *flop = kPeakRound;
  return peak_loop(rounds);
}
}  // namespace vitrail
