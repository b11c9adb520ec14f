// SPDX-License-Identifier: Apache-2.0
#include "kernels/reduce/body.h"

namespace vitrail {
extern const CpuKernel reduce_f32_avx2;
const CpuKernel reduce_f32_avx2{"reduce_f32_avx2", "reduce",    Isa::avx2, reduce_accepts,
                                reduce_tactics,    reduce_bind, reduce_run};
}  // namespace vitrail
