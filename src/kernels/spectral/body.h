// SPDX-License-Identifier: Apache-2.0
// spectral's run(), compiled once per ISA: plain loops over contiguous doubles, which the compiler
// turns into vectors.
#pragma once
#include <math.h>

#include "kernels/spectral/bind.h"

namespace vitrail {
namespace {

/// Columns [first, first + cols) of a strided float matrix, as a matrix of doubles with rows of
/// `pitch`, zero beyond `cols`.
void widen(const float* from, MatrixStrides at, int64_t rows, int64_t first, int64_t cols,
           int64_t pitch, double* to) {
  for (int64_t i = 0; i < rows; ++i, to += pitch) {
    for (int64_t j = 0; j < cols; ++j)
      to[j] = static_cast<double>(from[i * at.row + (first + j) * at.col]);
    for (int64_t j = cols; j < pitch; ++j) to[j] = 0;
  }
}

/// to += a * row, n elements, a multiple of 8.
inline void add_scaled(double a, const double* __restrict row, double* __restrict to, int64_t n) {
  for (int64_t j = 0; j < n; j += 8)
    for (int p = 0; p < 8; ++p) to[j + p] += a * row[j + p];
}

/// to [c x n] = G [c x c] * w [c x n].
void times_gram(const float* g, MatrixStrides at, int64_t c, const double* w, int64_t n,
                double* to) {
  for (int64_t i = 0; i < c; ++i) {
    double* row = to + i * n;
    for (int64_t j = 0; j < n; ++j) row[j] = 0;
    for (int64_t l = 0; l < c; ++l)
      add_scaled(static_cast<double>(g[i * at.row + l * at.col]), w + l * n, row, n);
  }
}

/// norms[j] = max(|column j of q|, eps), from w and G w.
void norms_of(const double* w, const double* gw, int64_t c, int64_t n, double eps, double* norms) {
  for (int64_t j = 0; j < n; ++j) norms[j] = 0;
  for (int64_t l = 0; l < c; ++l)
    for (int64_t j = 0; j < n; ++j) norms[j] += w[l * n + j] * gw[l * n + j];
  for (int64_t j = 0; j < n; ++j) {
    const double norm = norms[j] > 0 ? ::sqrt(norms[j]) : norms[j] == norms[j] ? 0 : norms[j];
    norms[j] = norm < eps ? eps : norm;
  }
}

/// Columns of Wv blockdiag(A^T) that belong to one head: to[c, j] for j < depth, `pitch` apart.
void spectral_head(const SpectralState& s, const KernelArgs& args, int64_t image, int64_t head,
                   double* scratch, double* to, int64_t pitch) {
  const int64_t c = s.channels, d = s.depth, n = s.padded;
  double *q = scratch, *k = q + c * n, *v = k + c * n, *gq = v + c * n, *gk = gq + c * n,
         *a = gk + c * n;
  double *mixed = a + d * n, *q_norm = mixed + d * n, *k_norm = q_norm + n;
  const float* g = static_cast<const float*>(args.inputs[0]) + image * s.g_batch;
  widen(static_cast<const float*>(args.inputs[1]), s.q, c, head * d, d, n, q);
  widen(static_cast<const float*>(args.inputs[2]), s.k, c, head * d, d, n, k);
  widen(static_cast<const float*>(args.inputs[3]), s.v, c, head * d, d, n, v);
  times_gram(g, s.g, c, q, n, gq);
  times_gram(g, s.g, c, k, n, gk);
  norms_of(q, gq, c, n, s.eps, q_norm);
  norms_of(k, gk, c, n, s.eps, k_norm);
  // a = K^T Q: row i belongs to column i of k.
  for (int64_t i = 0; i < d * n; ++i) a[i] = mixed[i] = 0;
  for (int64_t l = 0; l < c; ++l)
    for (int64_t i = 0; i < d; ++i) add_scaled(k[l * n + i], gq + l * n, a + i * n, n);
  const double rescale =
      static_cast<double>(static_cast<const float*>(args.inputs[4])[head * s.rescale_step]);
  // Softmax of each row, which becomes a column of `mixed`.
  for (int64_t i = 0; i < d; ++i) {
    double* row = a + i * n;
    double most = -HUGE_VAL, sum = 0;
    for (int64_t j = 0; j < d; ++j) {
      row[j] = rescale * (row[j] / (k_norm[i] * q_norm[j]));
      most = row[j] > most ? row[j] : most;
    }
    for (int64_t j = 0; j < d; ++j) sum += row[j] = ::exp(row[j] - most);
    for (int64_t j = 0; j < d; ++j) mixed[j * n + i] = row[j] / sum;
  }
  double* product = a;
  for (int64_t l = 0; l < c; ++l) {
    for (int64_t i = 0; i < n; ++i) product[i] = 0;
    for (int64_t j = 0; j < d; ++j) add_scaled(v[l * n + j], mixed + j * n, product, n);
    for (int64_t i = 0; i < d; ++i) to[l * pitch + i] = product[i];
  }
}

void spectral_run(const BoundProblem&, const Launch& launch, const KernelArgs& args, int64_t task,
                  void* scratch, void* shared) noexcept {
  SpectralState s;
  __builtin_memcpy(&s, launch.state.data(), sizeof s);
  const int64_t wide = s.heads * s.depth;
  if (task < s.batch * s.heads) {
    const int64_t image = task / s.heads, head = task % s.heads;
    spectral_head(s, args, image, head, static_cast<double*>(scratch),
                  static_cast<double*>(shared) + image * s.channels * wide + head * s.depth, wide);
    return;
  }
  task -= s.batch * s.heads;
  const int64_t image = task / s.row_blocks, block = task % s.row_blocks;
  const double* left = static_cast<const double*>(shared) + image * s.channels * wide;
  const float* proj = static_cast<const float*>(args.inputs[5]);
  float* out = static_cast<float*>(args.outputs[0]) + image * s.m_batch;
  double* row = static_cast<double*>(scratch);
  for (int64_t i = block * s.channels / s.row_blocks; i < (block + 1) * s.channels / s.row_blocks;
       ++i) {
    for (int64_t j = 0; j < s.out; ++j) row[j] = 0;
    for (int64_t l = 0; l < wide; ++l) {
      const double a = left[i * wide + l];
      const float* from = proj + l * s.proj.row;
      if (s.proj.col == 1) {
        for (int64_t j = 0; j < s.out; ++j) row[j] += a * static_cast<double>(from[j]);
      } else {
        for (int64_t j = 0; j < s.out; ++j) row[j] += a * static_cast<double>(from[j * s.proj.col]);
      }
    }
    for (int64_t j = 0; j < s.out; ++j) out[i * s.m.row + j * s.m.col] = static_cast<float>(row[j]);
  }
}

}  // namespace
}  // namespace vitrail
