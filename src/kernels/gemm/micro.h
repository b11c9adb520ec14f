// SPDX-License-Identifier: Apache-2.0
// The matrix microkernel, shared by gemm, conv and conv_transpose. Included by the files compiled
// per ISA.
//
// C[m x n] = A[m x K] * B[K x n]. B lies in panels of 16 columns (gemm/family.h). A is read in
// place: element (i, k) is a[i * lda + segments[k / length] + k % length], so that a window of a
// padded image is a matrix with one segment a kernel row, without being copied out. Measured on Zen
// 5, broadcasting from such rows reaches 95 % of the FMA peak, so packing A would gain nothing.
//
// Every element is accumulated in the same order whatever the tiling, thread or batch: k ascending
// in float32, in chunks of about kChunk products whose sums are added up in order (which bounds the
// rounding error by chunk length plus chunk count instead of K).
#pragma once
#include "kernels/epilogue_body.h"

namespace vitrail {
namespace {

constexpr int kPanel = 16;

/// The rows of A for one block; see above.
struct RowsA {
  const float* data;
  int64_t lda;
  const int64_t* segments;  ///< start of each segment, in elements
  int64_t count, length;    ///< number of segments, and the length of each
  int64_t last;             ///< length of the last, which may be shorter
  int64_t flush;            ///< segments to a chunk
};

/// What a block writes: through the epilogue to `outputs`; element (i, j) of the block belongs to
/// row i and column j of all operands.
struct BlockOut {
  const EpilogueCode* code;
  const TileOperand* operands;
  const TileOutput* outputs;
  float* tile;         ///< kTileFloats floats, then the epilogue's scratch
  const float* start;  ///< what the sums start from, readable to whole panels; null: zero
  int64_t start_row;
};
constexpr int kMaxTile = 12 * 32 > 6 * 64 ? 12 * 32 : 6 * 64;

template <int MR, int NV>
struct Acc {
  Vec v[MR][NV];
};

// Rows 3g..3g+2 share a pointer, so that 12 rows and the panels fit the general registers.
template <int MR, int NV>
inline __attribute__((always_inline)) void accumulate(Acc<MR, NV>& acc, const float* a, int64_t lda,
                                                      const float* b, int64_t panel,
                                                      int64_t length) {
  constexpr int W = Vec::kWidth, kGroups = (MR + 2) / 3;
  const char* rows[kGroups];
#pragma GCC unroll 8
  for (int g = 0; g < kGroups; ++g) rows[g] = reinterpret_cast<const char*>(a + 3 * g * lda);
  int64_t step = lda * static_cast<int64_t>(sizeof(float));
  for (int64_t k = 0; k < length; ++k) {
    // Opaque, or the compiler keeps one pointer a row, which spill.
    asm("" : "+r"(step));
    Vec bv[NV];
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) bv[j] = Vec::load(b + (j * W / kPanel) * panel + (j * W) % kPanel);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const Vec av = Vec::all(*reinterpret_cast<const float*>(rows[i / 3] + (i % 3) * step));
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) acc.v[i][j] = fma(av, bv[j], acc.v[i][j]);
    }
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) rows[g] += sizeof(float);
    b += kPanel;
  }
}

/// MR rows by NV vectors of columns, `cols` of them wanted (more than (NV - 1) * kWidth).
template <int MR, int NV>
void micro(const RowsA& a, const float* b, int64_t panel, int cols, const BlockOut& out) {
  constexpr int W = Vec::kWidth, kLd = NV * W;
  Acc<MR, NV> acc;
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j)
      acc.v[i][j] =
          out.start == nullptr ? Vec::zero() : Vec::load(out.start + i * out.start_row + j * W);

  int64_t in_chunk = 0;
  bool spilled = false;
  for (int64_t s = 0; s < a.count; ++s) {
    accumulate<MR, NV>(acc, a.data + a.segments[s], a.lda, b, panel,
                       s + 1 < a.count ? a.length : a.last);
    b += a.length * kPanel;
    if (++in_chunk == a.flush && s + 1 < a.count) {
      in_chunk = 0;
      float* to = out.tile;
      for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < NV; ++j, to += W)
          (spilled ? Vec::load(to) + acc.v[i][j] : acc.v[i][j]).store(to);
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < NV; ++j) acc.v[i][j] = Vec::zero();
      spilled = true;
    }
  }
  if (spilled) {
    const float* from = out.tile;
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j, from += W) acc.v[i][j] = Vec::load(from) + acc.v[i][j];
  }

  const EpilogueCode& code = *out.code;
  // Masked stores are as good as whole ones with AVX-512 only.
  if (code.only_adds() && out.outputs[0].col == 1 && (W == 16 || cols == kLd)) {
    const int last = cols - (NV - 1) * W;
    if (code.bias >= 0) {
      const float* bias = out.operands[code.bias].data;
      Vec bv[NV];
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j)
        bv[j] = j + 1 < NV ? Vec::load(bias + j * W) : load_upto(bias + j * W, last);
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < NV; ++j) acc.v[i][j] = acc.v[i][j] + bv[j];
    }
    if (code.residual >= 0) {
      const TileOperand& residual = out.operands[code.residual];
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < NV; ++j) {
          const float* from = residual.data + i * residual.row + j * W;
          acc.v[i][j] = acc.v[i][j] + (j + 1 < NV ? Vec::load(from) : load_upto(from, last));
        }
    }
    float* to = out.outputs[0].data;
    const int64_t ldc = out.outputs[0].row;
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) {
        if (j + 1 < NV) {
          acc.v[i][j].store(to + i * ldc + j * W);
        } else {
          store_upto(to + i * ldc + j * W, acc.v[i][j], last);
        }
      }
    return;
  }
  float* tile = out.tile;
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j, tile += W) acc.v[i][j].store(tile);
  run_epilogue(code, out.tile, kLd, MR, cols, out.operands, out.outputs, out.tile + kMaxTile);
}

using Micro = void (*)(const RowsA&, const float*, int64_t, int, const BlockOut&);

// Rows by vectors that the registers hold: 32 of them with AVX-512, otherwise 16. Wide and low ones
// are for few rows, where the accumulators of one row would wait for each other.
#if defined(__AVX512F__)
constexpr int kMaxRows = 12;
constexpr Micro kNarrow[kMaxRows] = {micro<1, 1>, micro<2, 1>,  micro<3, 1>,  micro<4, 1>,
                                     micro<5, 1>, micro<6, 1>,  micro<7, 1>,  micro<8, 1>,
                                     micro<9, 1>, micro<10, 1>, micro<11, 1>, micro<12, 1>};
constexpr Micro kUsual[kMaxRows] = {micro<1, 2>, micro<2, 2>,  micro<3, 2>,  micro<4, 2>,
                                    micro<5, 2>, micro<6, 2>,  micro<7, 2>,  micro<8, 2>,
                                    micro<9, 2>, micro<10, 2>, micro<11, 2>, micro<12, 2>};
constexpr int kWideRows = 6;
constexpr Micro kWide[kWideRows] = {micro<1, 4>, micro<2, 4>, micro<3, 4>,
                                    micro<4, 4>, micro<5, 4>, micro<6, 4>};
#else
constexpr int kMaxRows = 6;
constexpr Micro kNarrow[kMaxRows] = {micro<1, 1>, micro<2, 1>, micro<3, 1>,
                                     micro<4, 1>, micro<5, 1>, micro<6, 1>};
constexpr Micro kUsual[kMaxRows] = {micro<1, 2>, micro<2, 2>, micro<3, 2>,
                                    micro<4, 2>, micro<5, 2>, micro<6, 2>};
constexpr int kWideRows = 3;
constexpr Micro kWide[kWideRows] = {micro<1, 4>, micro<2, 4>, micro<3, 4>};
#endif

/// m rows by n columns of the product; `b` is the panel of the first column, panels `panel` floats
/// apart. `out` describes the block's first element. `tile`: kMaxTile floats and the epilogue's
/// scratch for a tile of that size. `start`: rows that the sums start from, `start_row` floats
/// apart, readable to whole panels.
void matrix_block(RowsA a, int64_t m, const float* b, int64_t panel, int64_t n,
                  const EpilogueCode& code, const TileOperand* operands, const TileOutput* outputs,
                  float* tile, const float* start = nullptr, int64_t start_row = 0) {
  constexpr int W = Vec::kWidth;
  const bool low = m <= kWideRows;
  const int64_t most = low ? kWideRows : kMaxRows;
  // Strips as even as possible: 197 rows are 17 strips of 11 or 12, not 16 and a rest of 5.
  const int64_t strips = (m + most - 1) / most;
  TileOperand row_operands[EpilogueCode::kMaxOperands], at_operands[EpilogueCode::kMaxOperands];
  TileOutput row_outputs[EpilogueCode::kMaxResults], at_outputs[EpilogueCode::kMaxResults];
  BlockOut out{&code, at_operands, at_outputs, tile, nullptr, start_row};
  for (int64_t strip = 0; strip < strips; ++strip) {
    const int64_t row = strip * m / strips, rows = (strip + 1) * m / strips - row;
    RowsA strip_a = a;
    strip_a.data += row * a.lda;
    for (int32_t o = 0; o < code.operands; ++o)
      row_operands[o] = {operands[o].data + row * operands[o].row, operands[o].row,
                         operands[o].col};
    for (int32_t r = 0; r < code.results; ++r)
      row_outputs[r] = {outputs[r].data + row * outputs[r].row, outputs[r].row, outputs[r].col};
    for (int64_t col = 0; col < n;) {
      const int64_t left = n - col;
      const int vectors = low && left > 2 * W ? (left > 3 * W ? 4 : 2) : left > W ? 2 : 1;
      const Micro* table = vectors == 4 ? kWide : vectors == 2 ? kUsual : kNarrow;
      const int cols = static_cast<int>(left < vectors * W ? left : vectors * W);
      for (int32_t o = 0; o < code.operands; ++o)
        at_operands[o] = {row_operands[o].data + col * row_operands[o].col, row_operands[o].row,
                          row_operands[o].col};
      for (int32_t r = 0; r < code.results; ++r)
        at_outputs[r] = {row_outputs[r].data + col * row_outputs[r].col, row_outputs[r].row,
                         row_outputs[r].col};
      if (start != nullptr) out.start = start + row * start_row + col;
      table[rows - 1](strip_a, b + col / kPanel * panel + col % kPanel, panel, cols, out);
      col += cols;
    }
  }
}

}  // namespace
}  // namespace vitrail
