// SPDX-License-Identifier: Apache-2.0
#include "kernels/reduce/body.h"

namespace vitrail {
extern const CpuKernel reduce_f32_baseline;
const CpuKernel reduce_f32_baseline{
    "reduce_f32_baseline", "reduce",    Isa::baseline, reduce_accepts,
    reduce_tactics,        reduce_bind, reduce_run};
}  // namespace vitrail
