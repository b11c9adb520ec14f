// SPDX-License-Identifier: Apache-2.0
#include "kernels/peak.h"

namespace vitrail {
float peak_baseline(int64_t rounds, double* flop);
float peak_avx2(int64_t rounds, double* flop);
float peak_avx512(int64_t rounds, double* flop);

static float run(Isa isa, int64_t rounds, double* flop) {
  switch (isa) {
    case Isa::avx512:
      return peak_avx512(rounds, flop);
    case Isa::avx2:
      return peak_avx2(rounds, flop);
    case Isa::baseline:
      break;
  }
  return peak_baseline(rounds, flop);
}

float peak_multiply_adds(Isa isa, int64_t rounds) {
  double flop = 0;
  return run(isa, rounds, &flop);
}
double peak_flop(Isa isa) {
  double flop = 0;
  run(isa, 0, &flop);
  return flop;
}

}  // namespace vitrail
