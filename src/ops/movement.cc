// SPDX-License-Identifier: Apache-2.0
#include "ops/movement.h"

#include "ops/parallel.h"

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
    parallel_ranges(out.size(), [&](int64_t begin, int64_t end) {
      Dims index(rows.size(), 0);  // of the row that the piece begins in
      for (int64_t rest = begin / length, d = static_cast<int64_t>(rows.size()); d-- > 0;
           rest /= rows[static_cast<size_t>(d)])
        index[static_cast<size_t>(d)] = rest % rows[static_cast<size_t>(d)];
      for (int64_t element = begin; element < end;) {
        int64_t at = offset;
        for (size_t d = 0; d < rows.size(); ++d) at += index[d] * strides[d];
        const int64_t first = element % length, stop = std::min(length, first + end - element);
        for (int64_t i = first; i < stop; ++i) to[element++] = from[at + i * step];
        next_index(index, rows);
      }
    });
  });
  return out;
}

}  // namespace vitrail
