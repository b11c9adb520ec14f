// SPDX-License-Identifier: Apache-2.0
#include "ops/contraction.h"

#include "ops/elementwise.h"
#include "ops/fast_reference.h"
#include "ops/movement.h"

namespace vitrail {

void infer_matmul_shape(InferContext& ctx, size_t a, size_t b) {
  Shape x = ctx.in(a).shape, y = ctx.in(b).shape;
  require(!x.empty() && !y.empty(), Code::bad_input,
          "inputs have shapes {} and {}, a scalar has no matrix product", to_string(x),
          to_string(y));
  const bool row = x.size() == 1, column = y.size() == 1;
  if (row) x.insert(x.begin(), 1);
  if (column) y.push_back(1);
  unify(ctx, x.back(), y[y.size() - 2], "columns of the first and rows of the second matrix");
  Shape out = ctx.broadcast(Shape(x.begin(), x.end() - 2), Shape(y.begin(), y.end() - 2));
  if (!row) out.push_back(x[x.size() - 2]);
  if (!column) out.push_back(y.back());
  ctx.out().shape = std::move(out);
}

MatmulShape matmul_shape(const Dims& a, const Dims& b, const Dims& out) {
  MatmulShape s;
  s.out_dims = out;
  s.k = a.back();
  if (a.size() > 1) s.m = a[a.size() - 2];
  if (b.size() > 1) s.n = b.back();
  const Dims a_batch(a.begin(), a.end() - (a.size() > 1 ? 2 : 1)),
      b_batch(b.begin(), b.end() - (b.size() > 1 ? 2 : 1));
  const Dims batch = broadcast(a_batch, b_batch);
  if (element_count(out) == 0) return s;
  for (BroadcastRows rows(batch, {a_batch, b_batch}); !rows.done(); rows.next())
    for (int64_t i = 0; i < rows.length(); ++i) {
      s.a_at.push_back((rows.at(0) + i * rows.step(0)) * s.m * s.k);
      s.b_at.push_back((rows.at(1) + i * rows.step(1)) * s.k * s.n);
    }
  // One matrix for all batches: their rows are the rows of one product.
  if (element_count(b_batch) == 1 && element_count(a_batch) == s.batches()) {
    s.m *= s.batches();
    s.a_at.resize(1);
    s.b_at.resize(1);
  }
  return s;
}

template <typename T>
void multiply(const MatmulShape& s, const T* a, const T* b, T* c) {
  if constexpr (std::is_floating_point_v<T>)
    if (fast::worthwhile(s.batches(), s.m, s.n, s.k)) return fast::matmul(s, a, b, c);
  for (int64_t i = 0; i < s.batches(); ++i)
    plain_matmul(s.m, s.n, s.k, a + s.a_at[static_cast<size_t>(i)],
                 b + s.b_at[static_cast<size_t>(i)], c + i * s.m * s.n);
}
template void multiply(const MatmulShape&, const float*, const float*, float*);
template void multiply(const MatmulShape&, const double*, const double*, double*);
template void multiply(const MatmulShape&, const int32_t*, const int32_t*, int32_t*);
template void multiply(const MatmulShape&, const int64_t*, const int64_t*, int64_t*);
template void multiply(const MatmulShape&, const uint32_t*, const uint32_t*, uint32_t*);
template void multiply(const MatmulShape&, const uint64_t*, const uint64_t*, uint64_t*);

Tensor transposed(const Tensor& matrix) {
  const Dims& d = matrix.dims();
  return strided_copy(matrix, {d[1], d[0]}, 0, {1, d[1]});
}

}  // namespace vitrail
