// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/kernel.h"

namespace vitrail {

// Family gemm: outputs[0][..., i, j] = epilogue(sum over l of A[..., i, l] * B[..., l, j]).
//
//   inputs[0]   A, f32 [batch..., m, k], k stride 1 (or k is 1)
//   inputs[1]   B, f32; constant: [k, n] with constant extents, packed (below), for every batch.
//               Otherwise [batch..., k, n] with any strides; where batches share it their stride is
//               0
//   epilogue_inputs   2 or more; operands f32 [batch..., m, n], strides 0 where they repeat
//   outputs[i]  f32 [batch..., m, n], any strides (n stride 1 is fast): a window of a larger buffer
//   is fine
//
//   ints: normalize  1: the sum is over norm(A) B, with norm(A)[..., i, :] = (A[..., i, :] - mean)
//   /
//                    sqrt(variance + eps) over each row of A (float eps), plus a row of n numbers:
//     inputs[2]   shift, f32 [n], a constant. A layer norm's scale s and shift t are in the
//     weights:
//                 (norm(x) s + t) W = norm(x) (s W) + t W. B is constant then, and epilogue_inputs
//                 is 3
//
// All of one rank, 2 to 6. Leading extents are merged with m when a kernel is bound, wherever
// strides allow, so that [images, tokens, channels] is one tall matrix. An epilogue operand may be
// the output's own memory (a residual in place).
//
// Sums are float32, each element's always in the same order: k ascending in even chunks of at most
// kGemmChunk, the chunks added in order; `fixed_order` costs nothing.
//
// Packed B: panels of 16 columns, each [k][16] floats, the last filled up with zero columns. Every
// variant of every instruction set reads this form; panels start at multiples of 64 bytes.
extern const KernelFamily gemm_family;

/// Longest run of products summed in one register before the sum is put aside. Long enough to cost
/// nothing, short enough that the error of K = 1536 is that of 384.
constexpr int64_t kGemmChunk = 384;
/// Columns of a panel.
constexpr int64_t kGemmPanel = 16;

/// `dense` [k, n] (elements `row` and `col` apart) to panels at `packed` (ceil(n / 16) * k * 16
/// floats).
void pack_panels(const float* dense, int64_t row, int64_t col, int64_t k, int64_t n, float* packed);

/// Error bound of float32 sums of `count` products of numbers uniform in [-1, 1], chunked as above,
/// in units of 2^-23. A sum of c such products has standard deviation sqrt(c)/3; each addition
/// rounds by at most 2^-24 of it, as a random walk 2^-24 * c / (3 sqrt 6) in all, times sqrt(count
/// / c) for the chunks: six times that is 0.41 sqrt(c * count). 4 more for the products of machines
/// without FMA and the last additions.
double gemm_tolerance(int64_t count);

/// Whether rows of A are normalized.
inline bool is_normalized(const Problem& problem) { return problem.integer("normalize", 0) != 0; }

}  // namespace vitrail
