// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "ops/rules.h"

// Shared by the ops that multiply matrices.
namespace vitrail {

/// numpy.matmul with all its numbers.
struct MatmulShape {
  int64_t m = 1, n = 1, k = 1;
  Dims out_dims;
  std::vector<int64_t> a_at, b_at;  ///< offset of the matrices of each batch, in elements
  int64_t batches() const { return static_cast<int64_t>(a_at.size()); }
};
/// Sets the shape of output 0 from inputs `a` and `b` by numpy.matmul's rule.
void infer_matmul_shape(InferContext& ctx, size_t a = 0, size_t b = 1);
MatmulShape matmul_shape(const Dims& a, const Dims& b, const Dims& out);

/// Product and sum in the type that a reference accumulates in: float64 for floats, otherwise 64
/// bits that wrap.
template <typename T>
using Accumulator = std::conditional_t<std::is_floating_point_v<T>, double, uint64_t>;

/// c[m,n] = a[m,k] b[k,n], dense, in the order of k.
template <typename T>
void plain_matmul(int64_t m, int64_t n, int64_t k, const T* a, const T* b, T* c) {
  using Sum = Accumulator<T>;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      Sum sum = 0;
      for (int64_t p = 0; p < k; ++p)
        sum += static_cast<Sum>(a[i * k + p]) * static_cast<Sum>(b[p * n + j]);
      c[i * n + j] = static_cast<T>(sum);
    }
}
/// The same for every batch; problems of float that are large go to fast_reference.h, which gives
/// the same bits.
template <typename T>
void multiply(const MatmulShape& s, const T* a, const T* b, T* c);

/// A matrix with rows and columns exchanged.
Tensor transposed(const Tensor& matrix);

}  // namespace vitrail
