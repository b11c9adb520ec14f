// SPDX-License-Identifier: Apache-2.0
#include "kernels/layernorm/body.h"

namespace vitrail {
extern const CpuKernel layernorm_f32_baseline;
const CpuKernel layernorm_f32_baseline{
    "layernorm_f32_baseline", "layernorm",    Isa::baseline, layernorm_accepts,
    layernorm_tactics,        layernorm_bind, layernorm_run};
}  // namespace vitrail
