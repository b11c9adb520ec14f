// SPDX-License-Identifier: Apache-2.0
#include "kernels/spectral/body.h"

namespace vitrail {
extern const CpuKernel spectral_f32_avx2;
const CpuKernel spectral_f32_avx2{"spectral_f32_avx2", "spectral",    Isa::avx2,   spectral_accepts,
                                  spectral_tactics,    spectral_bind, spectral_run};
}  // namespace vitrail
