// SPDX-License-Identifier: Apache-2.0
// spectral's run(), compiled once per ISA: plain loops over contiguous doubles, which the compiler
// turns into vectors.
#pragma once
#include <math.h>

#include "kernels/spectral/bind.h"

namespace vitrail {
namespace {

/// Columns [first, first + cols) of a strided float matrix, as a dense matrix of doubles.
void widen(const float* from, MatrixStrides at, int64_t rows, int64_t first, int64_t cols, double* to) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j) to[i * cols + j] = static_cast<double>(from[i * at.row + (first + j) * at.col]);
}

/// to += a * row, n elements.
inline void add_scaled(double a, const double* __restrict row, double* __restrict to, int64_t n) {
  for (int64_t j = 0; j < n; ++j) to[j] += a * row[j];
}

/// to [c x d] = G [c x c] * w [c x d].
void times_gram(const float* g, MatrixStrides at, int64_t c, const double* w, int64_t d, double* to) {
  for (int64_t i = 0; i < c; ++i) {
    double* row = to + i * d;
    for (int64_t j = 0; j < d; ++j) row[j] = 0;
    for (int64_t l = 0; l < c; ++l) add_scaled(static_cast<double>(g[i * at.row + l * at.col]), w + l * d, row, d);
  }
}

/// norms[j] = max(|column j of q|, eps), from w and G w.
void norms_of(const double* w, const double* gw, int64_t c, int64_t d, double eps, double* norms) {
  for (int64_t j = 0; j < d; ++j) norms[j] = 0;
  for (int64_t l = 0; l < c; ++l)
    for (int64_t j = 0; j < d; ++j) norms[j] += w[l * d + j] * gw[l * d + j];
  for (int64_t j = 0; j < d; ++j) {
    const double norm = norms[j] > 0 ? ::sqrt(norms[j]) : norms[j] == norms[j] ? 0 : norms[j];
    norms[j] = norm < eps ? eps : norm;
  }
}

/// Columns of Wv blockdiag(A^T) that belong to one head: to[c, j] for j < depth, `pitch` apart.
void spectral_head(const SpectralState& s, const KernelArgs& args, int64_t image, int64_t head, double* scratch,
                   double* to, int64_t pitch) {
  const int64_t c = s.channels, d = s.depth;
  double *q = scratch, *k = q + c * d, *v = k + c * d, *gq = v + c * d, *gk = gq + c * d, *a = gk + c * d;
  double *q_norm = a + d * d, *k_norm = q_norm + d;
  const float* g = static_cast<const float*>(args.inputs[0]) + image * s.g_batch;
  widen(static_cast<const float*>(args.inputs[1]), s.q, c, head * d, d, q);
  widen(static_cast<const float*>(args.inputs[2]), s.k, c, head * d, d, k);
  widen(static_cast<const float*>(args.inputs[3]), s.v, c, head * d, d, v);
  times_gram(g, s.g, c, q, d, gq);
  times_gram(g, s.g, c, k, d, gk);
  norms_of(q, gq, c, d, s.eps, q_norm);
  norms_of(k, gk, c, d, s.eps, k_norm);
  // a = K^T Q, row i of k's columns.
  for (int64_t i = 0; i < d * d; ++i) a[i] = 0;
  for (int64_t l = 0; l < c; ++l)
    for (int64_t i = 0; i < d; ++i) add_scaled(k[l * d + i], gq + l * d, a + i * d, d);
  const double rescale = static_cast<double>(static_cast<const float*>(args.inputs[4])[head * s.rescale_step]);
  for (int64_t i = 0; i < d; ++i) {
    double* row = a + i * d;
    double most = -HUGE_VAL, sum = 0;
    for (int64_t j = 0; j < d; ++j) {
      row[j] = rescale * (row[j] / (k_norm[i] * q_norm[j]));
      most = row[j] > most ? row[j] : most;
    }
    for (int64_t j = 0; j < d; ++j) sum += row[j] = ::exp(row[j] - most);
    for (int64_t j = 0; j < d; ++j) row[j] /= sum;
  }
  // (Wv A^T)[l, i] = sum over j of v[l, j] * a[i, j]: dot products of rows, in four sums.
  for (int64_t l = 0; l < c; ++l)
    for (int64_t i = 0; i < d; ++i) {
      const double *x = v + l * d, *y = a + i * d;
      double sums[4] = {0, 0, 0, 0};
      int64_t j = 0;
      for (; j + 4 <= d; j += 4)
        for (int p = 0; p < 4; ++p) sums[p] += x[j + p] * y[j + p];
      for (; j < d; ++j) sums[0] += x[j] * y[j];
      to[l * pitch + i] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }
}

void spectral_run(const BoundProblem&, const Launch& launch, const KernelArgs& args, int64_t task, void* scratch,
                  void* shared) noexcept {
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
  for (int64_t i = block * s.channels / s.row_blocks; i < (block + 1) * s.channels / s.row_blocks; ++i) {
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
