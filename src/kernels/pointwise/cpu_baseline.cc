// SPDX-License-Identifier: Apache-2.0
#include "kernels/pointwise/body.h"

namespace vitrail {
extern const CpuKernel pointwise_f32_baseline;
const CpuKernel pointwise_f32_baseline{
    "pointwise_f32_baseline", "pointwise",    Isa::baseline, pointwise_accepts,
    pointwise_tactics,        pointwise_bind, pointwise_run};
}  // namespace vitrail
