// SPDX-License-Identifier: Apache-2.0
// gemm's run(), compiled once per ISA.
#pragma once
#include "kernels/gemm/bind.h"
#include "kernels/gemm/micro.h"

namespace vitrail {
namespace {

/// Columns of a dynamic B to panels; `from` is element (0, 0) of the block.
void pack_block(const float* from, int64_t row, int64_t col, int64_t k, int64_t n, float* to) {
  for (int64_t j = 0; j < n; j += kPanel) {
    const int64_t wide = n - j < kPanel ? n - j : kPanel;
    if (col == 1) {
      for (int64_t l = 0; l < k; ++l, to += kPanel) {
        const float* in = from + l * row + j;
        for (int c = 0; c < kPanel; c += Vec::kWidth) {
          const int64_t rest = wide - c;
          load_upto(in + (rest > 0 ? c : 0), static_cast<int>(rest < 0 ? 0 : rest)).store(to + c);
        }
      }
      continue;
    }
    for (int64_t l = 0; l < k; ++l, to += kPanel) {
      const float* in = from + l * row + j * col;
      for (int64_t c = 0; c < wide; ++c) to[c] = in[c * col];
      for (int64_t c = wide; c < kPanel; ++c) to[c] = 0.0f;
    }
  }
}

void gemm_run(const BoundProblem&, const Launch& launch, const KernelArgs& args, int64_t task,
              void* scratch, void*) noexcept {
  GemmState s;
  __builtin_memcpy(&s, launch.state.data(), sizeof s);
  const int64_t row_block = task % s.row_blocks, col_block = task / s.row_blocks % s.col_blocks;
  int64_t batch = task / (s.row_blocks * s.col_blocks);
  int64_t a_at = 0, b_at = 0, operand_at[EpilogueCode::kMaxOperands] = {},
          output_at[EpilogueCode::kMaxResults] = {};
  for (int64_t axis = s.batch_axes - 1; axis >= 0; --axis) {
    const int64_t index = batch % s.batch[axis];
    batch /= s.batch[axis];
    a_at += index * s.a_batch[axis];
    b_at += index * s.b_batch[axis];
    for (int o = 0; o < s.epilogue.operands; ++o) operand_at[o] += index * s.operand_batch[o][axis];
    for (int o = 0; o < s.epilogue.results; ++o) output_at[o] += index * s.output_batch[o][axis];
  }
  const int64_t row = row_block * s.m / s.row_blocks,
                rows = (row_block + 1) * s.m / s.row_blocks - row;
  const int64_t col = col_block * s.block_cols;
  const int64_t cols = s.n - col < s.block_cols ? s.n - col : s.block_cols;

  float* tile = static_cast<float*>(scratch);
  const float* b = static_cast<const float*>(args.inputs[1]) + b_at;
  if (s.packed_b) {
    b += col * s.k;
  } else {
    float* packed = tile + s.tile_floats;
    pack_block(b + col * s.b_col, s.b_row, s.b_col, s.k, cols, packed);
    b = packed;
  }
  TileOperand operands[EpilogueCode::kMaxOperands];
  for (int o = 0; o < s.epilogue.operands; ++o)
    operands[o] = {static_cast<const float*>(args.inputs[s.epilogue_inputs + o]) + operand_at[o] +
                       row * s.operand[o].row + col * s.operand[o].col,
                   s.operand[o].row, s.operand[o].col};
  TileOutput outputs[EpilogueCode::kMaxResults];
  for (int o = 0; o < s.epilogue.results; ++o)
    outputs[o] = {static_cast<float*>(args.outputs[o]) + output_at[o] + row * s.output[o].row +
                      col * s.output[o].col,
                  s.output[o].row, s.output[o].col};
  const RowsA a{static_cast<const float*>(args.inputs[0]) + a_at + row * s.a_row,
                s.a_row,
                launch.state.data() + kGemmStateWords,
                s.segments,
                s.length,
                s.last,
                s.flush};
  matrix_block(a, rows, b, s.k * kPanel, cols, s.epilogue, operands, outputs, tile);
}

}  // namespace
}  // namespace vitrail
