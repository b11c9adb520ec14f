// SPDX-License-Identifier: Apache-2.0
#include "kernels/simd_probe.h"

namespace vitrail {
void simd_probe_baseline(int function, const float* x, float* y, int n);
void simd_probe_baseline(int function, const float* x, float* y, int n) {
  probe_function(function, x, y, n);
}
}  // namespace vitrail
