// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/body.h"

namespace vitrail {
extern const CpuKernel attention_f32_baseline;
const CpuKernel attention_f32_baseline{
    "attention_f32_baseline", "attention",         Isa::baseline, attention_accepts,
    attention_tactics,        attention_bind_here, attention_run};
}  // namespace vitrail
