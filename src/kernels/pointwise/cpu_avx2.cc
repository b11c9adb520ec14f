// SPDX-License-Identifier: Apache-2.0
#include "kernels/pointwise/body.h"

namespace vitrail {
extern const CpuKernel pointwise_f32_avx2;
const CpuKernel pointwise_f32_avx2{"pointwise_f32_avx2", "pointwise",       Isa::avx2,
                                   pointwise_accepts,    pointwise_tactics, pointwise_bind,
                                   pointwise_run};
}  // namespace vitrail
