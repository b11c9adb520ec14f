// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/kernel.h"

namespace vitrail {

// Problems of the two convolution families for tests and benchmarks.

/// Extents and integers of a convolution; o and c in all groups together.
struct ConvCase {
  Expr n, h, w;
  int64_t c, o, kh, kw, stride, pad, dilation, group;
  int epilogue;
};
/// The problem with the output's usual extents (for conv_transpose: `extra` rows and columns more).
Problem conv_problem(const ConvCase& c, bool transposed, int64_t extra = 0);

}  // namespace vitrail
