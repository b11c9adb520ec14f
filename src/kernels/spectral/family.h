// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/kernel.h"

namespace vitrail {

// Family spectral: the matrix that spectral attention (MST, MST++: attention over channels)
// multiplies tokens with, from their Gram matrix G = X^T X (family gram).
//
//   inputs[0]   G, f32 [b, c, c]
//   inputs[1..3]  Wq, Wk, Wv, f32 [c, heads * d]
//   inputs[4]   rescale, f32 [heads]
//   inputs[5]   Wproj, f32 [heads * d, o]
//   outputs[0]  M, f32 [b, c, o]; all with any strides
//   ints        heads;   floats   eps (1e-12), the least norm, as torch.nn.functional.normalize
//
// With q = X Wq and so on (no bias), K^T Q = Wk^T G Wq and the squared norm of column j of q is
// (Wq^T G Wq)[j, j], so q, k and v are never needed. For each head, over its columns i of k and j
// of q:
//
//   A[i, j] = softmax over j of rescale * (k_i . q_j) / (max(|k_i|, eps) * max(|q_j|, eps))
//   M = Wv * blockdiag(A^T) * Wproj,    so that the attention's projected output is X M
//
// Squared norms below zero, which rounding of G can cause, count as zero. Everything is float64
// inside. Algebra and error: docs/design.md; exact in real arithmetic.
extern const KernelFamily spectral_family;

}  // namespace vitrail
