// SPDX-License-Identifier: Apache-2.0
#include "kernels/layernorm/body.h"

namespace vitrail {
extern const CpuKernel layernorm_f32_avx512;
const CpuKernel layernorm_f32_avx512{"layernorm_f32_avx512", "layernorm",       Isa::avx512,
                                     layernorm_accepts,      layernorm_tactics, layernorm_bind,
                                     layernorm_run};
}  // namespace vitrail
