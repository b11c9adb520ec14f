// SPDX-License-Identifier: Apache-2.0
#include "kernels/conv/cuda.h"

namespace vitrail {

extern const GpuKernel conv_transpose_cuda;
const GpuKernel conv_transpose_cuda{
    .name = "conv_transpose_cuda",
    .family = "conv_transpose",
    .accepts = [](const Problem& p, const GpuMachine&) { return conv_cuda_accepts(p, true); },
    .tactics = [](const BoundProblem& p,
                  const GpuMachine& machine) { return conv_cuda_tactics(p, true, machine); },
    .generate = [](const Problem& p, const Tactic& tactic,
                   const GpuMachine&) { return conv_cuda_generate(p, true, tactic); },
    .pack =
        [](const Problem& p, size_t index, const Tensor& dense) {
          return index == 1 ? conv_cuda_pack(p, true, dense) : dense;
        }};

}  // namespace vitrail
