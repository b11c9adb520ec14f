// SPDX-License-Identifier: Apache-2.0
// gram's run(), compiled once per ISA.
#pragma once
#include "kernels/gram/bind.h"
#include "kernels/gram/family.h"
#include "kernels/simd.h"

namespace vitrail {
namespace {

constexpr int kGramVectors = 2;
#if defined(__AVX512F__)
constexpr int kGramRows = 12;
#else
constexpr int kGramRows = 6;
#endif

/// sums[i][j] += sum over `tokens` of x[t][row + i] * x[t][col + j], for MR rows and two vectors.
template <int MR>
void gram_tile(const float* x, int64_t padded, int64_t tokens, int64_t row, int64_t col,
               double* sums) {
  constexpr int W = Vec::kWidth, kWide = kGramVectors * W;
  Vec acc[MR][kGramVectors];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kGramVectors; ++j) acc[i][j] = Vec::zero();
  const float *a = x + row, *b = x + col;
  for (int64_t t = 0; t < tokens; ++t, a += padded, b += padded) {
    Vec bv[kGramVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kGramVectors; ++j) bv[j] = Vec::load(b + j * W);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const Vec av = Vec::all(a[i]);
#pragma GCC unroll 4
      for (int j = 0; j < kGramVectors; ++j) acc[i][j] = fma(av, bv[j], acc[i][j]);
    }
  }
  alignas(64) float lanes[MR * kWide];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kGramVectors; ++j) acc[i][j].store(lanes + i * kWide + j * W);
  for (int i = 0; i < MR; ++i) {
    double* to = sums + (row + i) * padded + col;
    for (int j = 0; j < kWide; ++j) to[j] += static_cast<double>(lanes[i * kWide + j]);
  }
}

using GramTile = void (*)(const float*, int64_t, int64_t, int64_t, int64_t, double*);
#if defined(__AVX512F__)
constexpr GramTile kGramTiles[kGramRows] = {
    gram_tile<1>, gram_tile<2>, gram_tile<3>, gram_tile<4>,  gram_tile<5>,  gram_tile<6>,
    gram_tile<7>, gram_tile<8>, gram_tile<9>, gram_tile<10>, gram_tile<11>, gram_tile<12>};
#else
constexpr GramTile kGramTiles[kGramRows] = {gram_tile<1>, gram_tile<2>, gram_tile<3>,
                                            gram_tile<4>, gram_tile<5>, gram_tile<6>};
#endif

/// Partial sums of one part of the tokens: the upper triangle of `sums`, in blocks.
void gram_part(const GramState& s, const float* x, int64_t first, int64_t last, float* tile,
               double* sums) {
  __builtin_memset(sums, 0, static_cast<size_t>(s.padded * s.padded) * sizeof(double));
  constexpr int64_t kWide = kGramVectors * Vec::kWidth;
  const int64_t c = s.channels;
  for (int64_t token = first; token < last; token += kGramTile) {
    const int64_t count = last - token < kGramTile ? last - token : kGramTile;
    // A copy with zeros up to whole vectors: rows of 31 channels end in the next token.
    for (int64_t t = 0; t < count; ++t) {
      const float* from = x + (token + t) / s.cols * s.x_row + (token + t) % s.cols * s.x_col;
      float* to = tile + t * s.padded;
      for (int64_t l = 0; l < s.padded; l += Vec::kWidth) {
        const int64_t left = c - l;
        const int rest = static_cast<int>(left < 0 ? 0 : left < Vec::kWidth ? left : Vec::kWidth);
        const float* at = from + (rest > 0 ? l : 0) * s.x_channel;
        (s.x_channel == 1 ? load_upto(at, rest) : load_strided(at, s.x_channel, rest))
            .store(to + l);
      }
    }
    for (int64_t col = 0; col < c; col += kWide) {
      const int64_t rows = col + kWide < c ? col + kWide : c;
      const int64_t strips = (rows + kGramRows - 1) / kGramRows;
      for (int64_t strip = 0; strip < strips; ++strip) {
        const int64_t row = strip * rows / strips;
        kGramTiles[(strip + 1) * rows / strips - row - 1](tile, s.padded, count, row, col, sums);
      }
    }
  }
}

void gram_run(const BoundProblem&, const Launch& launch, const KernelArgs& args, int64_t task,
              void* scratch, void* shared) noexcept {
  GramState s;
  __builtin_memcpy(&s, launch.state.data(), sizeof s);
  const int64_t area = s.padded * s.padded;
  if (task < s.batch * s.parts) {
    const int64_t image = task / s.parts, part = task % s.parts;
    // Parts begin at whole tiles.
    const int64_t tokens = s.rows * s.cols, tiles = (tokens + kGramTile - 1) / kGramTile;
    const int64_t first = part * tiles / s.parts * kGramTile,
                  end = (part + 1) * tiles / s.parts * kGramTile;
    gram_part(s, static_cast<const float*>(args.inputs[0]) + image * s.x_batch, first,
              end < tokens ? end : tokens, static_cast<float*>(scratch),
              static_cast<double*>(shared) + task * area);
    return;
  }
  const int64_t image = task - s.batch * s.parts;
  double* sums = static_cast<double*>(shared) + image * s.parts * area;
  for (int64_t part = 1; part < s.parts; ++part) {
    const double* more = sums + part * area;
    for (int64_t i = 0; i < area; ++i) sums[i] += more[i];
  }
  float* out = static_cast<float*>(args.outputs[0]) + image * s.out_batch;
  for (int64_t i = 0; i < s.channels; ++i)
    for (int64_t j = i; j < s.channels; ++j)
      out[i * s.out_row + j * s.out_col] = out[j * s.out_row + i * s.out_col] =
          static_cast<float>(sums[i * s.padded + j]);
}

}  // namespace
}  // namespace vitrail
