// SPDX-License-Identifier: Apache-2.0
// The functions of simd.h behind plain pointers, for simd_test.cc; compiled once per ISA.
#pragma once
#include "kernels/simd.h"

namespace vitrail {
namespace {

template <typename F>
void probe(const float* x, float* y, int n, F f) {
  for (int i = 0; i < n; i += Vec::kWidth) store_upto(y + i, f(load_upto(x + i, n - i)), n - i);
}

/// y[i] = function(x[i]), in the order of kSimdFunctions (simd_test.cc).
inline void probe_function(int function, const float* x, float* y, int n) {
  switch (function) {
    case 0:
      return probe(x, y, n, [](Vec v) { return exp(v); });
    case 1:
      return probe(x, y, n, [](Vec v) { return erf(v); });
    case 2:
      return probe(x, y, n, [](Vec v) { return tanh(v); });
    case 3:
      return probe(x, y, n, [](Vec v) { return sigmoid(v); });
    case 4:
      return probe(x, y, n, [](Vec v) { return gelu(v); });
    case 5:
      return probe(x, y, n, [](Vec v) { return gelu_tanh(v); });
    case 6:
      return probe(x, y, n, [](Vec v) { return swish(v, Vec::all(1.0f)); });
    case 7:
      return probe(x, y, n, [](Vec v) { return floor(v); });
    case 8:
      return probe(x, y, n, [](Vec v) { return ceil(v); });
    case 9:
      return probe(x, y, n, [](Vec v) { return round_even(v); });
    case 10:
      return probe(x, y, n, [](Vec v) { return relu(v); });
    case 11:
      return probe(x, y, n, [](Vec v) { return max(v, Vec::all(1.0f)); });
    default:
      return probe(x, y, n, [](Vec v) { return min(Vec::all(1.0f), v); });
  }
}

}  // namespace
}  // namespace vitrail
