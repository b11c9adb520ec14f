// SPDX-License-Identifier: Apache-2.0
#include "kernels/softmax/body.h"

namespace vitrail {
extern const CpuKernel softmax_f32_baseline;
const CpuKernel softmax_f32_baseline{
    "softmax_f32_baseline", "softmax",    Isa::baseline, softmax_accepts,
    softmax_tactics,        softmax_bind, softmax_run};
}  // namespace vitrail
