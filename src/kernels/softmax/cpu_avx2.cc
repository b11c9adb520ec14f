// SPDX-License-Identifier: Apache-2.0
#include "kernels/softmax/body.h"

namespace vitrail {
extern const CpuKernel softmax_f32_avx2;
const CpuKernel softmax_f32_avx2{"softmax_f32_avx2", "softmax",    Isa::avx2,  softmax_accepts,
                                 softmax_tactics,    softmax_bind, softmax_run};
}  // namespace vitrail
