// SPDX-License-Identifier: Apache-2.0
#include "kernels/gram/body.h"

namespace vitrail {
extern const CpuKernel gram_f32_avx512;
const CpuKernel gram_f32_avx512{"gram_f32_avx512", "gram",    Isa::avx512, gram_accepts,
                                gram_tactics,      gram_bind, gram_run};
}  // namespace vitrail
