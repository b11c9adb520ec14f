// SPDX-License-Identifier: Apache-2.0
#include "runtime/copy.h"

#include <cstring>
#include <vector>

#include "plan/validate.h"

namespace vitrail {
namespace {
// Strides count units of `step` bytes; the innermost `leaf` bytes are contiguous on both sides.
void copy_axis(std::byte* to, const int64_t* to_strides, const std::byte* from,
               const int64_t* from_strides, const int64_t* dims, size_t rank, int64_t step,
               size_t leaf) {
  if (rank == 0) {
    std::memcpy(to, from, leaf);
    return;
  }
  for (int64_t i = 0; i < dims[0]; ++i)
    copy_axis(to + i * to_strides[0] * step, to_strides + 1, from + i * from_strides[0] * step,
              from_strides + 1, dims + 1, rank - 1, step, leaf);
}

void copy_apart(std::byte* to, const Dims& to_strides, const std::byte* from,
                const Dims& from_strides, const Dims& dims, size_t bytes) {
  size_t rank = dims.size();
  int64_t run = 1;
  while (rank > 0 && to_strides[rank - 1] == run && from_strides[rank - 1] == run)
    run *= dims[--rank];
  copy_axis(to, to_strides.data(), from, from_strides.data(), dims.data(), rank,
            static_cast<int64_t>(bytes), static_cast<size_t>(run) * bytes);
}
}  // namespace

bool View::dense() const {
  int64_t expected = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    if (dims[i] != 1 && strides[i] != expected) return false;
    expected *= dims[i];
  }
  return true;
}

void copy_window(std::byte* to, const Dims& to_strides, const std::byte* from,
                 const Dims& from_strides, const Dims& dims, size_t element_bytes) {
  const Span to_span = span_of(dims, to_strides), from_span = span_of(dims, from_strides);
  if (to_span.last < to_span.first) return;
  if (to == from && to_strides == from_strides) return;
  const auto bytes = static_cast<int64_t>(element_bytes);
  const auto address = [](const std::byte* p) { return reinterpret_cast<intptr_t>(p); };
  const bool overlap =
      address(to) + to_span.first * bytes < address(from) + (from_span.last + 1) * bytes &&
      address(from) + from_span.first * bytes < address(to) + (to_span.last + 1) * bytes;
  if (!overlap) return copy_apart(to, to_strides, from, from_strides, dims, element_bytes);
  std::vector<std::byte> dense(static_cast<size_t>(element_count(dims)) * element_bytes);
  const Dims packed = row_major(dims);
  copy_apart(dense.data(), packed, from, from_strides, dims, element_bytes);
  copy_apart(to, to_strides, dense.data(), packed, dims, element_bytes);
}

}  // namespace vitrail
