// SPDX-License-Identifier: Apache-2.0
#include "kernels/softmax/body.h"

namespace vitrail {
extern const CpuKernel softmax_f32_avx512;
const CpuKernel softmax_f32_avx512{"softmax_f32_avx512", "softmax",    Isa::avx512, softmax_accepts,
                                   softmax_tactics,      softmax_bind, softmax_run};
}  // namespace vitrail
