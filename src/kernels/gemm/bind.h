// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/epilogue.h"
#include "kernels/kernel.h"

namespace vitrail {

/// What gemm's run() needs, inside Launch::state; the starts of the segments of A follow it.
struct GemmState {
  static constexpr int kMaxBatchAxes = 4;
  int64_t m, n, k;                 ///< after merging leading extents into m
  int64_t row_blocks, col_blocks;  ///< tasks of one batch; rows are split evenly
  int64_t block_cols;              ///< columns of a block: a multiple of the panel's
  int64_t batch_axes, batch[kMaxBatchAxes];
  int64_t a_row, a_batch[kMaxBatchAxes];
  int64_t packed_b;  ///< 1: constant panels; 0: packed by each task
  int64_t b_row, b_col, b_batch[kMaxBatchAxes];
  int64_t segments, length, last, flush;  ///< RowsA
  int64_t epilogue_inputs;
  TileStrides operand[EpilogueCode::kMaxOperands], output[EpilogueCode::kMaxResults];
  int64_t operand_batch[EpilogueCode::kMaxOperands][kMaxBatchAxes];
  int64_t output_batch[EpilogueCode::kMaxResults][kMaxBatchAxes];
  int64_t tile_floats;  ///< scratch before the packed block of B
  EpilogueCode epilogue;
};
constexpr int64_t kGemmStateWords = (sizeof(GemmState) + 7) / 8;

// The same for every instruction set.
Refusal gemm_accepts(const Problem& problem);
std::vector<Tactic> gemm_tactics(const BoundProblem& problem, const Machine& machine, int workers);
Launch gemm_bind(const BoundProblem& problem, const Tactic& tactic, const Machine& machine,
                 int workers);

/// Floats of scratch that matrix_block (micro.h) needs.
int64_t matrix_tile_floats(const EpilogueCode& epilogue);

/// At least `count` blocks such that `others` times as many tasks are the same number for each
/// worker.
int64_t even_count(int64_t count, int64_t others, int workers);

/// How `m` rows of n columns and K = k are cut into tasks: blocks of columns of B that stay in half
/// the second-level cache, blocks of rows for balance among the workers. Keys "rows" and "cols" of
/// the tactic take precedence.
struct Blocks {
  int64_t rows, cols;  ///< cols: multiple of the panel's columns
};
Blocks choose_blocks(int64_t m, int64_t n, int64_t k, int64_t batch, const Tactic& tactic,
                     const Machine& machine, int workers);

}  // namespace vitrail
