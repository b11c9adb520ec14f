// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "ops/op.h"

// Shared by the ops that work along axes.
namespace vitrail {

/// Extents around an axis: a dense tensor is [outer, axis, inner].
struct AxisSplit {
  int64_t outer = 1, extent = 1, inner = 1;
};
AxisSplit split_at(const Dims& dims, int64_t axis);

/// For each dimension whether it is in `axes` (negative ones count from the end). Throws
/// Error(bad_input) for an axis out of range or named twice.
std::vector<bool> axis_mask(const std::vector<int64_t>& axes, size_t rank, const char* what);

/// Throws Error(bad_input) unless input `i` has rank 1 and `extent` elements, as far as known.
void require_vector(InferContext& ctx, size_t i, const Expr& extent, const char* what);

}  // namespace vitrail
