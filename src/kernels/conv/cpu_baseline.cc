// SPDX-License-Identifier: Apache-2.0
#include "kernels/conv/body.h"

namespace vitrail {
extern const CpuKernel conv_f32_baseline;
const CpuKernel conv_f32_baseline{"conv_f32_baseline", "conv",    Isa::baseline, conv_accepts,
                                  conv_tactics,        conv_bind, conv_run};
}  // namespace vitrail
