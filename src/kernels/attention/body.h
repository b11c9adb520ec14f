// SPDX-License-Identifier: Apache-2.0
// The attention kernel, compiled once per ISA. Both products run through one register tile: kBlock
// rows of a row-major A (scaled q, then the exponentials) times panels of two vectors of B (k
// transposed, then v). At 12 x 32 on AVX-512 a step is 24 FMAs for 14 loads.
#pragma once
#include "kernels/attention/family.h"
#include "kernels/rows_body.h"
#include "kernels/transpose.h"

namespace vitrail {
namespace {

#if defined(__AVX512F__)
constexpr int kBlock = 12;
#else
constexpr int kBlock = 6;  // 12 accumulators of 16 registers
#endif
constexpr int kPanel = 2 * Vec::kWidth;

/// c[rows x NV vectors] = a[rows x depth] * b[depth x NV vectors].
template <int kRows, int NV>
void tile(const float* a, int64_t lda, const float* b, int64_t depth, float* c, int64_t ldc) {
  constexpr int kW = Vec::kWidth;
  Vec acc[kRows][NV];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < NV; ++v) acc[r][v] = Vec::zero();
  // Three rows share a pointer: with lda as an index that is all the addressing x86 has.
  const float* base[(kRows + 2) / 3];
  for (int g = 0; g < (kRows + 2) / 3; ++g) base[g] = a + 3 * g * lda;
  for (int64_t p = 0; p < depth; ++p) {
    Vec column[NV];
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) column[v] = Vec::load(b + v * kW);
    b += NV * kW;
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const Vec x = Vec::all(base[r / 3][(r % 3) * lda]);
#pragma GCC unroll 2
      for (int v = 0; v < NV; ++v) acc[r][v] = fma(x, column[v], acc[r][v]);
    }
    for (int g = 0; g < (kRows + 2) / 3; ++g) ++base[g];
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < NV; ++v) acc[r][v].store(c + r * ldc + v * kW);
}

using TileFunction = void (*)(const float*, int64_t, const float*, int64_t, float*, int64_t);
template <int NV>
inline TileFunction tile_of(int64_t rows) {
  switch (rows) {
    case 1:
      return tile<1, NV>;
    case 2:
      return tile<2, NV>;
    case 3:
      return tile<3, NV>;
    case 4:
      return tile<4, NV>;
    case 5:
      return tile<5, NV>;
#if defined(__AVX512F__)
    case 6:
      return tile<6, NV>;
    case 7:
      return tile<7, NV>;
    case 8:
      return tile<8, NV>;
    case 9:
      return tile<9, NV>;
    case 10:
      return tile<10, NV>;
    case 11:
      return tile<11, NV>;
#endif
    default:
      return tile<kBlock, NV>;
  }
}

/// c = a * b for rows <= kBlock and `cols` columns, b in panels; c is written in whole vectors.
inline void product(const float* a, int64_t lda, const float* b, int64_t depth, float* c,
                    int64_t ldc, int64_t rows, int64_t cols) {
  const TileFunction wide = tile_of<2>(rows);
  int64_t j = 0;
  for (; cols - j > Vec::kWidth; j += kPanel) wide(a, lda, b + j * depth, depth, c + j, ldc);
  if (j < cols) tile_of<1>(rows)(a, lda, b + j * depth, depth, c + j, ldc);
}

/// Width of the panel at column j, as `product` walks them.
inline int64_t panel_width(int64_t j, int64_t cols) {
  return cols - j > Vec::kWidth ? kPanel : Vec::kWidth;
}

/// Panels of k transposed: [d][width] each, zero beyond t.
inline void pack_keys(const float* k, int64_t row, int64_t t, int64_t d, float* to) {
  int64_t width = 0;
  for (int64_t j = 0; j < t; j += width) {
    width = panel_width(j, t);
    float* panel = to + j * d;
    const int64_t keys = t - j < width ? t - j : width;
    transpose_block(k + j * row, row, panel, width, keys, d);
    for (int64_t i = 0; keys < width && i < d; ++i)
      for (int64_t c = keys; c < width; ++c) panel[i * width + c] = 0;
  }
}
/// Panels of v: [t][width] each, zero beyond dv.
inline void pack_values(const float* v, int64_t row, int64_t t, int64_t dv, float* to) {
  int64_t width = 0;
  for (int64_t j = 0; j < dv; j += width) {
    width = panel_width(j, dv);
    float* panel = to + j * t;
    for (int64_t i = 0; i < t; ++i)
      for (int64_t c = 0; c < width; c += Vec::kWidth) {
        const int64_t left = dv - j - c;
        const int lanes = static_cast<int>(left < 0 ? 0 : left < Vec::kWidth ? left : Vec::kWidth);
        load_upto(v + i * row + j + c, lanes).store(panel + i * width + c);
      }
  }
}

inline void add_mask(const float* mask, int64_t col, float* score, int64_t t) {
  for (int64_t j = 0; j < t; j += Vec::kWidth) {
    const int64_t left = t - j;
    const int lanes = static_cast<int>(left < Vec::kWidth ? left : Vec::kWidth);
    const Vec m = col == 1 ? load_upto(mask + j, lanes) : load_strided(mask + j * col, col, lanes);
    store_upto(score + j, Vec::load(score + j) + m, lanes);
  }
}

/// Exponentials of the scores less their maximum, in place; returns 1 / sum.
inline float exponentials(float* score, int64_t t) {
  constexpr int kW = Vec::kWidth;
  const int64_t whole = t / kW * kW;
  const int rest = static_cast<int>(t - whole);
  float most = score[0];
  if (whole > 0) {
    Vec top = Vec::load(score);
    for (int64_t j = kW; j < whole; j += kW) top = max_or_second(Vec::load(score + j), top);
    most = max_of(top);
  }
  for (int64_t j = whole; j < t; ++j) most = score[j] > most ? score[j] : most;
  const Vec shift = Vec::all(most);
  Vec sums[2] = {Vec::zero(), Vec::zero()};
  int64_t j = 0;
  for (; j + 2 * kW <= whole; j += 2 * kW)
    for (int i = 0; i < 2; ++i) {
      const Vec e = exp(Vec::load(score + j + i * kW) - shift);
      e.store(score + j + i * kW);
      sums[i] = sums[i] + e;
    }
  for (; j < t; j += kW) {
    const int lanes = j < whole ? kW : rest;
    store_upto(score + j, exp(load_upto(score + j, lanes) - shift), lanes);
    sums[0] = sums[0] + load_upto(score + j, lanes);
  }
  return 1.0f / sum_of(sums[0] + sums[1]);
}

void attention_run(const BoundProblem&, const Launch& launch, const KernelArgs& args, int64_t task,
                   void* scratch, void*) noexcept {
  const auto& s = state_of<AttentionState>(launch);
  auto* memory = static_cast<float*>(scratch);
  float *keys = memory + s.k_at, *values = memory + s.v_at, *queries = memory + s.q_at;
  float *scores = memory + s.score_at, *results = memory + s.result_at;
  int64_t offsets[RowLoop::kMaxOperands];
  locate(s.batch, task / s.tasks_per_batch, offsets);
  const auto input = [&](int64_t i) {
    return static_cast<const float*>(args.inputs[i]) + offsets[i];
  };
  pack_keys(input(1), s.row[1], s.t, s.d, keys);
  pack_values(input(2), s.row[2], s.t, s.dv, values);
  const int64_t begin = task % s.tasks_per_batch * s.rows_per_task;
  const int64_t end = begin + s.rows_per_task < s.m ? begin + s.rows_per_task : s.m;
  const Vec scale = Vec::all(s.scale);
  for (int64_t i = begin; i < end; i += kBlock) {
    const int64_t rows = end - i < kBlock ? end - i : kBlock;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t j = 0; j < s.d; j += Vec::kWidth) {
        const int64_t left = s.d - j;
        const int lanes = static_cast<int>(left < Vec::kWidth ? left : Vec::kWidth);
        store_upto(queries + r * s.d + j,
                   load_upto(input(0) + (i + r) * s.row[0] + j, lanes) * scale, lanes);
      }
    product(queries, s.d, keys, s.d, scores, s.score_ld, rows, s.t);
    float inverse[kBlock];
    for (int64_t r = 0; r < rows; ++r) {
      float* row = scores + r * s.score_ld;
      if (s.has_mask != 0) add_mask(input(3) + (i + r) * s.row[3], s.col[3], row, s.t);
      inverse[r] = exponentials(row, s.t);
    }
    product(scores, s.score_ld, values, s.t, results, s.value_ld, rows, s.dv);
    for (int64_t r = 0; r < rows; ++r) {
      float* row = results + r * s.value_ld;
      const Vec factor = Vec::all(inverse[r]);
      for (int64_t j = 0; j < s.dv; j += Vec::kWidth) (Vec::load(row + j) * factor).store(row + j);
    }
    TileOperand operands[EpilogueCode::kMaxOperands];
    TileOutput outputs[EpilogueCode::kMaxResults];
    for (int64_t o = 0; o < s.epilogue.operands; ++o) {
      const int64_t at = s.first + o;
      operands[o] = {input(at) + i * s.row[at], s.row[at], s.col[at]};
    }
    for (int64_t o = 0; o < s.outputs; ++o) {
      const int64_t at = s.inputs + o;
      outputs[o] = {static_cast<float*>(args.outputs[o]) + offsets[at] + i * s.row[at], s.row[at],
                    s.col[at]};
    }
    run_epilogue(s.epilogue, results, s.value_ld, rows, s.dv, operands, outputs,
                 memory + s.epilogue_at);
  }
}

Launch attention_bind_here(const BoundProblem& problem, const Tactic& tactic, const Machine&,
                           int workers) {
  return attention_bind(problem, tactic, workers, Vec::kWidth, kBlock);
}

}  // namespace
}  // namespace vitrail
