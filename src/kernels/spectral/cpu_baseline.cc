// SPDX-License-Identifier: Apache-2.0
#include "kernels/spectral/body.h"

namespace vitrail {
extern const CpuKernel spectral_f32_baseline;
const CpuKernel spectral_f32_baseline{
    "spectral_f32_baseline", "spectral",    Isa::baseline, spectral_accepts,
    spectral_tactics,        spectral_bind, spectral_run};
}  // namespace vitrail
