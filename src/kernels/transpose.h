// SPDX-License-Identifier: Apache-2.0
// Transposition of float32 (any 4-byte) blocks, 4 x 4 at a time in registers. 128-bit vectors on
// every ISA: the shuffles of wider ones cost as much per element.
#pragma once
#include <emmintrin.h>

#include <cstdint>

namespace vitrail {
namespace {

/// to[c * to_row + r] = from[r * from_row + c] for 4 x 4 elements.
inline void transpose_4x4(const float* from, int64_t from_row, float* to, int64_t to_row) {
  __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + from_row);
  __m128 c = _mm_loadu_ps(from + 2 * from_row), d = _mm_loadu_ps(from + 3 * from_row);
  _MM_TRANSPOSE4_PS(a, b, c, d);
  _mm_storeu_ps(to, a);
  _mm_storeu_ps(to + to_row, b);
  _mm_storeu_ps(to + 2 * to_row, c);
  _mm_storeu_ps(to + 3 * to_row, d);
}

/// The same for rows x cols elements of T; both sides have stride 1 along their rows. The side
/// whose rows lie further apart is walked along its rows: they may all fall into one cache set.
template <typename T>
inline void transpose_block(const T* from, int64_t from_row, T* to, int64_t to_row, int64_t rows,
                            int64_t cols) {
  int64_t whole_rows = 0, whole_cols = 0;
  if constexpr (sizeof(T) == 4) {
    whole_rows = rows / 4 * 4;
    whole_cols = cols / 4 * 4;
    const auto block = [&](int64_t r, int64_t c) {
      transpose_4x4(reinterpret_cast<const float*>(from + r * from_row + c), from_row,
                    reinterpret_cast<float*>(to + c * to_row + r), to_row);
    };
    if (to_row > from_row) {
      for (int64_t c = 0; c < whole_cols; c += 4)
        for (int64_t r = 0; r < whole_rows; r += 4) block(r, c);
    } else {
      for (int64_t r = 0; r < whole_rows; r += 4)
        for (int64_t c = 0; c < whole_cols; c += 4) block(r, c);
    }
  }
  if (to_row > from_row) {
    for (int64_t c = 0; c < cols; ++c)
      for (int64_t r = c < whole_cols ? whole_rows : 0; r < rows; ++r)
        to[c * to_row + r] = from[r * from_row + c];
  } else {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = r < whole_rows ? whole_cols : 0; c < cols; ++c)
        to[c * to_row + r] = from[r * from_row + c];
  }
}

}  // namespace
}  // namespace vitrail
