// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/kernel.h"

namespace vitrail {

std::vector<Problem> gemm_samples();
std::vector<BenchCase> gemm_bench();

/// Epilogues that samples of matrix families go through: every compiled form and some that are
/// interpreted. Each entry appends its operands, of the extents and as if dense in `out`, to the
/// problem; a bias repeats all axes but the last.
constexpr int kSampleEpilogues = 9;
void add_sample_epilogue(Problem& problem, int which);

}  // namespace vitrail
