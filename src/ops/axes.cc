// SPDX-License-Identifier: Apache-2.0
#include "ops/axes.h"

namespace vitrail {

AxisSplit split_at(const Dims& dims, int64_t axis) {
  AxisSplit out;
  for (int64_t d = 0; d < static_cast<int64_t>(dims.size()); ++d)
    (d < axis ? out.outer : d == axis ? out.extent : out.inner) *= dims[static_cast<size_t>(d)];
  return out;
}

std::vector<bool> axis_mask(const std::vector<int64_t>& axes, size_t rank, const char* what) {
  std::vector<bool> mask(rank, false);
  for (int64_t axis : axes) {
    const auto at = static_cast<size_t>(normalize_axis(axis, rank, what));
    require(!mask[at], Code::bad_input, "{} {} is named twice", what, axis);
    mask[at] = true;
  }
  return mask;
}

void require_vector(InferContext& ctx, size_t i, const Expr& extent, const char* what) {
  const ValueInfo& value = ctx.in(i);
  require(value.rank() == 1, Code::bad_input, "{} (input {}) has shape {}, rank 1 is needed", what,
          i, to_string(value.shape));
  if (value.shape[0] == extent) return;
  require(!value.shape[0].is_constant() || !extent.is_constant(), Code::bad_input,
          "{} (input {}) has {} elements, expected {}", what, i, value.shape[0].str(),
          extent.str());
  ctx.equalities.push_back({value.shape[0], extent});
}

}  // namespace vitrail
