// SPDX-License-Identifier: Apache-2.0
#include "kernels/inverted/body.h"

namespace vitrail {
extern const CpuKernel inverted_f32_avx2;
const CpuKernel inverted_f32_avx2{"inverted_f32_avx2", "inverted",    Isa::avx2,   inverted_accepts,
                                  inverted_tactics,    inverted_bind, inverted_run};
}  // namespace vitrail
