// SPDX-License-Identifier: Apache-2.0
#include "kernels/conv/body.h"

namespace vitrail {
extern const CpuKernel conv_transpose_f32_baseline;
const CpuKernel conv_transpose_f32_baseline{
    "conv_transpose_f32_baseline", "conv_transpose",    Isa::baseline, conv_transpose_accepts,
    conv_transpose_tactics,        conv_transpose_bind, conv_run};
}  // namespace vitrail
