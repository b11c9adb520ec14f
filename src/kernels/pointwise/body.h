// SPDX-License-Identifier: Apache-2.0
// The pointwise kernel, compiled once per ISA.
#pragma once
#include "kernels/pointwise/family.h"
#include "kernels/rows_body.h"

namespace vitrail {
namespace {

/// One tile: `rows` rows from the offsets on, columns first..first+cols-1.
inline void pointwise_tile(const RowState& state, const KernelArgs& args, const int64_t* offsets,
                           int64_t first, int64_t rows, int64_t cols, float* scratch) {
  const TileOperand in{
      static_cast<const float*>(args.inputs[0]) + offsets[0] + first * state.col[0],
      state.loop.step(0), state.col[0]};
  const float* tile = in.data;
  if (in.col != 1 || (rows > 1 && in.row != cols)) {
    gather_operand(in, cols, rows, cols, scratch);
    tile = scratch;
  }
  finish_rows(state, args, offsets, first, tile, cols, rows, cols,
              scratch + (state.tile_rows * state.ld + 15) / 16 * 16);
}

void pointwise_run(const BoundProblem&, const Launch& launch, const KernelArgs& args, int64_t task,
                   void* scratch, void*) noexcept {
  const auto& state = state_of<PointwiseState>(launch);
  const RowState& rows = state.rows;
  auto* memory = static_cast<float*>(scratch);
  const int64_t begin = task * rows.rows_per_task, all = rows.loop.rows * state.col_tasks;
  const int64_t end = begin + rows.rows_per_task < all ? begin + rows.rows_per_task : all;
  if (state.col_tasks == 1) {
    for_segments(rows.loop, begin, end, rows.tile_rows,
                 [&](int64_t, int64_t count, const int64_t* offsets) {
                   pointwise_tile(rows, args, offsets, 0, count, rows.cols, memory);
                 });
    return;
  }
  int64_t offsets[RowLoop::kMaxOperands];
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t first = unit % state.col_tasks * state.chunk;
    locate(rows.loop, unit / state.col_tasks, offsets);
    const int64_t left = rows.cols - first;
    pointwise_tile(rows, args, offsets, first, 1, left < state.chunk ? left : state.chunk, memory);
  }
}

}  // namespace
}  // namespace vitrail
