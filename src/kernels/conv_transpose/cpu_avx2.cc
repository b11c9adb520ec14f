// SPDX-License-Identifier: Apache-2.0
#include "kernels/conv/body.h"

namespace vitrail {
extern const CpuKernel conv_transpose_f32_avx2;
const CpuKernel conv_transpose_f32_avx2{
    "conv_transpose_f32_avx2", "conv_transpose",    Isa::avx2, conv_transpose_accepts,
    conv_transpose_tactics,    conv_transpose_bind, conv_run};
}  // namespace vitrail
