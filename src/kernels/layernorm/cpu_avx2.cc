// SPDX-License-Identifier: Apache-2.0
#include "kernels/layernorm/body.h"

namespace vitrail {
extern const CpuKernel layernorm_f32_avx2;
const CpuKernel layernorm_f32_avx2{"layernorm_f32_avx2", "layernorm",       Isa::avx2,
                                   layernorm_accepts,    layernorm_tactics, layernorm_bind,
                                   layernorm_run};
}  // namespace vitrail
