// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/body.h"

namespace vitrail {
extern const CpuKernel gemm_f32_baseline;
const CpuKernel gemm_f32_baseline{"gemm_f32_baseline", "gemm",    Isa::baseline, gemm_accepts,
                                  gemm_tactics,        gemm_bind, gemm_run};
}  // namespace vitrail
