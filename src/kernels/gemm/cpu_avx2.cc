// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/body.h"

namespace vitrail {
extern const CpuKernel gemm_f32_avx2;
const CpuKernel gemm_f32_avx2{"gemm_f32_avx2", "gemm",    Isa::avx2, gemm_accepts,
                              gemm_tactics,    gemm_bind, gemm_run};
}  // namespace vitrail
