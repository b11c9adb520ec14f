// SPDX-License-Identifier: Apache-2.0
#include "kernels/positional/body.h"

namespace vitrail {
extern const CpuKernel positional_f32_avx2;
const CpuKernel positional_f32_avx2{"positional_f32_avx2", "positional",       Isa::avx2,
                                    positional_accepts,    positional_tactics, positional_bind,
                                    positional_run};
}  // namespace vitrail
