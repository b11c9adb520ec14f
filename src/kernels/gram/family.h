// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/kernel.h"

namespace vitrail {

// Family gram: outputs[0][b, i, j] = sum over all tokens t of x[b, t, i] * x[b, t, j], the matrix
// that spectral attention (family spectral) is computed from.
//
//   inputs[0]   x, f32 [b, t, c] or [b, t1, t2, c], c constant; any strides (c stride 1 is fast)
//   outputs[0]  f32 [b, c, c], any strides; symmetric to the bit
//
// No epilogue. Sums run in float32 over kGramTile tokens and in float64 beyond; tokens are cut into
// parts by their number alone, which are added in order, so that the result depends neither on the
// number of threads nor on the order of tasks.
extern const KernelFamily gram_family;

constexpr int64_t kGramTile = 256;

}  // namespace vitrail
