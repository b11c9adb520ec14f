// SPDX-License-Identifier: Apache-2.0
#include "kernels/positional/body.h"

namespace vitrail {
extern const CpuKernel positional_f32_baseline;
const CpuKernel positional_f32_baseline{
    "positional_f32_baseline", "positional",    Isa::baseline, positional_accepts,
    positional_tactics,        positional_bind, positional_run};
}  // namespace vitrail
