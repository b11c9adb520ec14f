// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/body.h"

namespace vitrail {
extern const CpuKernel attention_f32_avx2;
const CpuKernel attention_f32_avx2{"attention_f32_avx2", "attention",       Isa::avx2,
                                   attention_accepts,    attention_tactics, attention_bind_here,
                                   attention_run};
}  // namespace vitrail
