// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/gpu_kernel.h"

namespace vitrail {

// Convolution and transposed convolution as products of the image's windows with a packed weight
// [phase][group][tap][channel][output], channels filled up to a multiple of 8 unless there are
// fewer, outputs always (cuda/gemm.cuh). Phases are those of the CPU's kernels (bind.h).
Refusal conv_cuda_accepts(const Problem& problem, bool transposed);
Tensor conv_cuda_pack(const Problem& problem, bool transposed, const Tensor& dense);
std::vector<Tactic> conv_cuda_tactics(const BoundProblem& problem, bool transposed,
                                      const GpuMachine& machine);
GpuCode conv_cuda_generate(const Problem& problem, bool transposed, const Tactic& tactic);

// What the tensor-core rows of conv share: their operands, and the packed weight, [tap, channels
// filled up to a multiple of 8 unless there are fewer] rows of outputs.
Refusal conv_cuda_mma_accepts(const Problem& problem);
Tensor conv_cuda_mma_pack(const Problem& problem, size_t index, const Tensor& dense);

}  // namespace vitrail
