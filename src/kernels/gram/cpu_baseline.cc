// SPDX-License-Identifier: Apache-2.0
#include "kernels/gram/body.h"

namespace vitrail {
extern const CpuKernel gram_f32_baseline;
const CpuKernel gram_f32_baseline{"gram_f32_baseline", "gram",    Isa::baseline, gram_accepts,
                                  gram_tactics,        gram_bind, gram_run};
}  // namespace vitrail
