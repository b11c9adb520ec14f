// SPDX-License-Identifier: Apache-2.0
// spectral's run(), compiled once per ISA. Everything is a product of float64 matrices through one
// register tile; an element's sum runs along one row and column whatever the blocks, so results
// depend neither on the tasks nor on the workers.
#pragma once
#include <math.h>

#include "kernels/spectral/bind.h"
#include "kernels/spectral/doubles.h"
#include "kernels/transpose.h"

namespace vitrail {
namespace {

// A tile's rows and vectors: as many accumulators as registers allow beside the factors.
#if defined(__AVX512F__)
constexpr int kSpectralRows = 12, kSpectralVectors = 2;
#elif defined(__AVX2__)
constexpr int kSpectralRows = 6, kSpectralVectors = 2;
#else
// An element of the left factor takes two instructions to spread: four vectors share it.
constexpr int kSpectralRows = 3, kSpectralVectors = 4;
#endif

/// The left factor of a product: element (i, p) is at[i * row + p * col].
struct Left {
  const double* at;
  int64_t row, col;
};

/// to[MR x NV vectors] = a[MR x depth] * b[depth x NV vectors].
template <int MR, int NV>
void spectral_tile(Left a, const double* b, int64_t b_pitch, int64_t depth, double* to,
                   int64_t pitch) {
  constexpr int W = Doubles::kWidth;
  Doubles acc[MR][NV];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) acc[i][j] = Doubles::all(0);
  // Three rows share a pointer: with the step as an index that is all the addressing x86 has.
  const double* base[(MR + 2) / 3];
  for (int i = 0; i < (MR + 2) / 3; ++i) base[i] = a.at + 3 * i * a.row;
  for (int64_t p = 0; p < depth; ++p, b += b_pitch) {
    Doubles row[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) row[j] = Doubles::load(b + j * W);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const Doubles x = Doubles::all(base[i / 3][(i % 3) * a.row]);
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) acc[i][j] = fma(x, row[j], acc[i][j]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < (MR + 2) / 3; ++i) base[i] += a.col;
  }
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) acc[i][j].store(to + i * pitch + j * W);
}

using SpectralTile = void (*)(Left, const double*, int64_t, int64_t, double*, int64_t);
template <int NV>
constexpr SpectralTile kSpectralTiles[kSpectralRows] = {
    spectral_tile<1, NV>,  spectral_tile<2, NV>,  spectral_tile<3, NV>,
#if defined(__AVX2__)
    spectral_tile<4, NV>,  spectral_tile<5, NV>,  spectral_tile<6, NV>,
#endif
#if defined(__AVX512F__)
    spectral_tile<7, NV>,  spectral_tile<8, NV>,  spectral_tile<9, NV>,
    spectral_tile<10, NV>, spectral_tile<11, NV>, spectral_tile<12, NV>,
#endif
};

/// to[rows x cols] = a * b, cols a multiple of 8. `upper`: a is zero left of its diagonal, which
/// is then not read.
void multiply(Left a, const double* b, int64_t b_pitch, int64_t depth, double* to, int64_t pitch,
              int64_t rows, int64_t cols, bool upper = false) {
  constexpr int64_t W = Doubles::kWidth, kWide = kSpectralVectors * W;
  const int64_t strips = (rows + kSpectralRows - 1) / kSpectralRows;
  for (int64_t col = 0; col < cols; col += kWide)
    for (int64_t strip = 0; strip < strips; ++strip) {
      const int64_t row = strip * rows / strips, count = (strip + 1) * rows / strips - row;
      const int64_t first = upper ? row : 0;
      const SpectralTile tile =
          (cols - col < kWide ? kSpectralTiles<1> : kSpectralTiles<kSpectralVectors>)[count - 1];
      tile({a.at + row * a.row + first * a.col, a.row, a.col}, b + first * b_pitch + col, b_pitch,
           depth - first, to + row * pitch + col, pitch);
    }
}

/// rows x cols elements of a strided float matrix as doubles, zero up to `pitch`.
void widen(const float* from, MatrixStrides at, int64_t rows, int64_t cols, int64_t pitch,
           double* to) {
  constexpr int64_t W = Doubles::kWidth;
  for (int64_t i = 0; i < rows; ++i, from += at.row, to += pitch) {
    int64_t j = 0;
    if (at.col == 1 && cols >= W) {
      for (; j + W <= cols; j += W) Doubles::load(from + j).store(to + j);
      // The last vector overlaps the one before.
      Doubles::load(from + cols - W).store(to + cols - W);
      j = cols;
    }
    for (; j < cols; ++j) to[j] = static_cast<double>(from[j * at.col]);
    for (; j < pitch; ++j) to[j] = 0;
  }
}

/// inverse[j] = 1 / max(|column j of q|, eps), from w and the product of G with it. n: a multiple
/// of 8.
void invert_norms(const double* w, int64_t w_pitch, const double* gw, int64_t pitch, int64_t c,
                  int64_t n, double eps, double* inverse) {
  constexpr int64_t W = Doubles::kWidth;
  for (int64_t j = 0; j < n; j += W) {
    Doubles sum = Doubles::all(0);
    for (int64_t l = 0; l < c; ++l)
      sum = fma(Doubles::load(w + l * w_pitch + j), Doubles::load(gw + l * pitch + j), sum);
    const Doubles norm = sqrt(max_or_second(Doubles::all(0), sum));
    (Doubles::all(1) / max_or_second(Doubles::all(eps), norm)).store(inverse + j);
  }
}

/// One launch's pointers for one image.
struct SpectralImage {
  const SpectralState& s;
  const KernelArgs& args;
  int64_t image;
  double *scratch, *shared;

  const float* input(int i) const { return static_cast<const float*>(args.inputs[i]); }

  /// Rows of G as doubles, and of the lower triangle of G + G^T, with G's own diagonal: since
  /// x^T G x is the sum over r of x[r] * (sum over l <= r of lower[r, l] x[l]), norms cost half
  /// a product. Zero above the diagonal, to where a tile can reach.
  void prepare(int64_t block) const {
    constexpr int64_t W = Doubles::kWidth;
    const int64_t c = s.channels;
    const float* g = input(0) + image * s.g_batch;
    const int64_t first = block * c / s.row_blocks, end = (block + 1) * c / s.row_blocks;
    widen(g + first * s.g.row, s.g, end - first, c, c, shared + first * c);
    auto* turned = reinterpret_cast<float*>(scratch);
    const bool turns = s.g.col == 1;
    if (turns) transpose_block(g + first, s.g.row, turned, c, end, end - first);
    for (int64_t r = first; r < end; ++r) {
      double* row = shared + s.lower + r * c;
      const double* from = shared + r * c;
      const float* column = turns ? turned + (r - first) * c : g + r * s.g.col;
      const int64_t step = turns ? 1 : s.g.row;
      int64_t l = 0;
      if (turns)
        for (; l + W <= r; l += W)
          (Doubles::load(from + l) + Doubles::load(column + l)).store(row + l);
      for (; l < r; ++l) row[l] = from[l] + static_cast<double>(column[l * step]);
      row[r] = from[r];
      for (l = r + 1; l < c && l < r + kSpectralRows; ++l) row[l] = 0;
    }
  }

  /// Rows of K^T Q of one head, from a block of k's columns, and the norms of this block of k's and
  /// q's columns.
  void score(int64_t head, int64_t part) const {
    const int64_t c = s.channels, d = s.depth, n = s.padded, first = part * kSpectralPart;
    const int64_t cols = d - first < kSpectralPart ? d - first : kSpectralPart;
    const int64_t wide = (cols + 7) / 8 * 8;
    double *q = scratch, *k = q + c * n, *gk = k + c * wide, *gq = gk + c * wide;
    widen(input(1) + head * d * s.q.col, s.q, c, d, n, q);
    widen(input(2) + (head * d + first) * s.k.col, s.k, c, cols, wide, k);
    multiply({shared, 1, c}, k, wide, c, gk, wide, c, wide);
    multiply({shared + s.lower, 1, c}, q + first, n, c, gq, wide, c, wide, true);
    const int64_t at = head * n + first;
    invert_norms(k, wide, gk, wide, c, wide, s.eps, shared + s.inverse_k + at);
    invert_norms(q + first, n, gq, wide, c, wide, s.eps, shared + s.inverse_q + at);
    multiply({gk, 1, wide}, q, n, c, shared + s.scores + (head * d + first) * n, n, cols, n);
  }

  /// Softmax of one head's scores, then its rows of blockdiag(A^T) * Wproj.
  void mix(int64_t head) const {
    constexpr int64_t W = Doubles::kWidth;
    const int64_t d = s.depth, n = s.padded, o = s.out_pitch;
    double *a = scratch, *proj = a + d * n, *bias = proj + d * o;
    for (int64_t j = 0; j < n; ++j) bias[j] = j < d ? 0 : -1e300;
    const double rescale = static_cast<double>(input(4)[head * s.rescale_step]);
    const double *inverse_k = shared + s.inverse_k + head * n,
                 *inverse_q = shared + s.inverse_q + head * n;
    for (int64_t i = 0; i < d; ++i) {
      const double* from = shared + s.scores + (head * d + i) * n;
      double* row = a + i * n;
      const Doubles factor = Doubles::all(rescale * inverse_k[i]);
      Doubles top = Doubles::all(-HUGE_VAL);
      for (int64_t j = 0; j < n; j += W) {
        const Doubles x = fma(factor * Doubles::load(from + j), Doubles::load(inverse_q + j),
                              Doubles::load(bias + j));
        x.store(row + j);
        top = max_or_second(x, top);
      }
      const Doubles most = Doubles::all(max_of(top));
      Doubles sums = Doubles::all(0);
      for (int64_t j = 0; j < n; j += W) {
        const Doubles e = exp_of_negative(Doubles::load(row + j) - most);
        e.store(row + j);
        sums = sums + e;
      }
      const Doubles inverse = Doubles::all(1 / sum_of(sums));
      for (int64_t j = 0; j < n; j += W) (Doubles::load(row + j) * inverse).store(row + j);
    }
    widen(input(5) + head * d * s.proj.row, s.proj, d, s.out, o, proj);
    multiply({a, 1, n}, proj, o, d, shared + s.mixed + head * d * o, o, d, (s.out + 7) / 8 * 8);
  }

  /// Rows of the result: Wv * what mix() left.
  void project(int64_t block) const {
    constexpr int64_t W = Doubles::kWidth;
    const int64_t c = s.channels, wide = s.heads * s.depth, o = s.out_pitch;
    const int64_t first = block * c / s.row_blocks, rows = (block + 1) * c / s.row_blocks - first;
    double *v = scratch, *sums = v + rows * wide;
    widen(input(3) + first * s.v.row, s.v, rows, wide, wide, v);
    multiply({v, wide, 1}, shared + s.mixed, o, wide, sums, o, rows, (s.out + 7) / 8 * 8);
    float* to = static_cast<float*>(args.outputs[0]) + image * s.m_batch + first * s.m.row;
    for (int64_t i = 0; i < rows; ++i, to += s.m.row, sums += o) {
      int64_t j = 0;
      if (s.m.col == 1)
        for (; j + W <= s.out; j += W) Doubles::load(sums + j).store(to + j);
      for (; j < s.out; ++j) to[j * s.m.col] = static_cast<float>(sums[j]);
    }
  }

  void run(int64_t phase, int64_t task) const {
    if (phase == 0) prepare(task);
    if (phase == 1) score(task / s.parts, task % s.parts);
    if (phase == 2) mix(task);
    if (phase == 3) project(task);
  }
};

void spectral_run(const BoundProblem&, const Launch& launch, const KernelArgs& args, int64_t task,
                  void* scratch, void* shared) noexcept {
  SpectralState s;
  __builtin_memcpy(&s, launch.state.data(), sizeof s);
  const auto at = [&](int64_t image) {
    return SpectralImage{s, args, image, static_cast<double*>(scratch),
                         static_cast<double*>(shared) + image * s.image};
  };
  for (int64_t phase = 0, before = 0; phase < 4; before = s.phase_ends[phase++]) {
    const int64_t tasks = s.phase_ends[phase] - before, first = task - s.batch * before;
    if (s.whole_images) {
      for (int64_t i = 0; i < tasks; ++i) at(task).run(phase, i);
    } else if (first >= 0 && first < s.batch * tasks) {
      at(first / tasks).run(phase, first % tasks);
    }
  }
}

}  // namespace
}  // namespace vitrail
