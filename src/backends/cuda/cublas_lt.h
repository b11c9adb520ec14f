// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>
#include <vector>

#include "backends/cuda/library.h"

namespace vitrail::cuda {

// Operation "matmul": D[z, i, j] = act(sum over l of A[z, i, l] * B[z, l, j] + bias[j] + C[z, i,
// j]), row-major. Products are summed in float32. Its numbers:
//
//   batch, m, n, k: extents
//   a, b, c, d, bias: which address each is; c, bias: -1 when there is none
//   d_offset: bytes from that address to D
//   type: of A and B; c_type; d_type: of D and the bias (DType's values)
//   lda, ldb, ldc, ldd: elements between rows; with trans_a, trans_b between columns
//   stride_a, stride_b, stride_c, stride_d: elements between batches
//   align_a, align_b, align_c, align_d: bytes that the addresses are multiples of
//   activation: 0: none, 1: ReLU, 2: GELU by tanh
//   tf32: 1: float32 factors may be rounded to TF32
//   workspace, workspace_at: bytes at which address, from its start
//   algo, tile, stages, split, reduction, swizzle, custom, inner, cluster: the algorithm as
//     cuBLASLt's attributes name it; no algo: the library's first at the bound extents, as it is
//     when the one named does not fit them

const GpuLibrary& cublas_lt_library();
std::unique_ptr<LibraryOperation> prepare_cublas_lt(const std::shared_ptr<Device>& device,
                                                    const LibraryCall& call,
                                                    const Bindings& numbers, size_t operands);

/// Algorithms for a matmul (numbers as above, those of the algorithm and "workspace" left out),
/// best guess first, as the numbers that name them and the "workspace" each wants; at most `count`.
/// None: the library has none.
std::vector<Tactic> cublas_lt_tactics(const std::shared_ptr<Device>& device,
                                      const Bindings& numbers, int count);

}  // namespace vitrail::cuda
