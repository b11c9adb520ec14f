// SPDX-License-Identifier: Apache-2.0
#include "kernels/conv/body.h"

namespace vitrail {
extern const CpuKernel conv_f32_avx512;
const CpuKernel conv_f32_avx512{"conv_f32_avx512", "conv",    Isa::avx512, conv_accepts,
                                conv_tactics,      conv_bind, conv_run};
}  // namespace vitrail
