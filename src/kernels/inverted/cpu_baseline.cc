// SPDX-License-Identifier: Apache-2.0
#include "kernels/inverted/body.h"

namespace vitrail {
extern const CpuKernel inverted_f32_baseline;
const CpuKernel inverted_f32_baseline{
    "inverted_f32_baseline", "inverted",    Isa::baseline, inverted_accepts,
    inverted_tactics,        inverted_bind, inverted_run};
}  // namespace vitrail
