// SPDX-License-Identifier: Apache-2.0
#include "ops/movement.h"

namespace vitrail {

Tensor strided_copy(const Tensor& in, const Dims& dims, int64_t offset, const Dims& strides) {
  Tensor out(in.dtype(), dims);
  if (out.size() == 0) return out;
  const int64_t length = dims.empty() ? 1 : dims.back(), step = dims.empty() ? 0 : strides.back();
  const Dims rows(dims.begin(), dims.empty() ? dims.end() : dims.end() - 1);
  with_cell(in.dtype(), "copy", [&](auto tag) {
    using C = decltype(tag);
    const C* from = cells<C>(in);
    C* to = mutable_cells<C>(out);
    Dims index(rows.size(), 0);
    do {
      int64_t at = offset;
      for (size_t d = 0; d < rows.size(); ++d) at += index[d] * strides[d];
      for (int64_t i = 0; i < length; ++i) *to++ = from[at + i * step];
    } while (next_index(index, rows));
  });
  return out;
}

}  // namespace vitrail
