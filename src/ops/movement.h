// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "base/tensor.h"

// Copying elements of any type: only their size matters.
namespace vitrail {

/// An element as bytes. Of character type, so that it may alias any element.
template <size_t N>
struct Cell {
  unsigned char bytes[N];
};

/// Calls `action` with a Cell of the element's size. Throws Error(unsupported) for strings.
template <typename Action>
void with_cell(DType dtype, const char* what, Action&& action) {
  switch (size_of(dtype)) {
    case 1:
      return action(Cell<1>{});
    case 2:
      return action(Cell<2>{});
    case 4:
      return action(Cell<4>{});
    case 8:
      return action(Cell<8>{});
    default:
      fail(Code::unsupported, "{}: element type {}", what, name_of(dtype));
  }
}
template <typename C>
const C* cells(const Tensor& t) {
  return static_cast<const C*>(t.raw());
}
template <typename C>
C* mutable_cells(Tensor& t) {
  return static_cast<C*>(t.mutable_raw());
}

/// A tensor of extents `dims` with out[i0, i1, ...] = in[offset + i0 * strides[0] + ...]. Indices
/// stay inside `in` by the caller's rule.
Tensor strided_copy(const Tensor& in, const Dims& dims, int64_t offset, const Dims& strides);

/// Steps `index` to the next one in row-major order; false after the last.
inline bool next_index(Dims& index, const Dims& dims) {
  for (size_t d = dims.size(); d-- > 0;) {
    if (++index[d] < dims[d]) return true;
    index[d] = 0;
  }
  return false;
}

}  // namespace vitrail
