// SPDX-License-Identifier: Apache-2.0
#include "kernels/conv/body.h"

namespace vitrail {
extern const CpuKernel conv_f32_avx2;
const CpuKernel conv_f32_avx2{"conv_f32_avx2", "conv",    Isa::avx2, conv_accepts,
                              conv_tactics,    conv_bind, conv_run};
}  // namespace vitrail
