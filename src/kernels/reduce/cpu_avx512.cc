// SPDX-License-Identifier: Apache-2.0
#include "kernels/reduce/body.h"

namespace vitrail {
extern const CpuKernel reduce_f32_avx512;
const CpuKernel reduce_f32_avx512{"reduce_f32_avx512", "reduce",    Isa::avx512, reduce_accepts,
                                  reduce_tactics,      reduce_bind, reduce_run};
}  // namespace vitrail
