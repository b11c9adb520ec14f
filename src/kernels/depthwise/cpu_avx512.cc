// SPDX-License-Identifier: Apache-2.0
#include "kernels/depthwise/body.h"

namespace vitrail {
extern const CpuKernel depthwise_f32_avx512;
const CpuKernel depthwise_f32_avx512{"depthwise_f32_avx512", "depthwise",       Isa::avx512,
                                     depthwise_accepts,      depthwise_tactics, depthwise_bind,
                                     depthwise_run};
}  // namespace vitrail
