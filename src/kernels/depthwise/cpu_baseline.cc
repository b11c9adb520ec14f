// SPDX-License-Identifier: Apache-2.0
#include "kernels/depthwise/body.h"

namespace vitrail {
extern const CpuKernel depthwise_f32_baseline;
const CpuKernel depthwise_f32_baseline{
    "depthwise_f32_baseline", "depthwise",    Isa::baseline, depthwise_accepts,
    depthwise_tactics,        depthwise_bind, depthwise_run};
}  // namespace vitrail
