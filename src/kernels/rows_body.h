// SPDX-License-Identifier: Apache-2.0
// Walking a RowLoop, and tiles of rows through an epilogue. Included by the files compiled per ISA.
#pragma once
#include "kernels/epilogue_body.h"
#include "kernels/kernel.h"
#include "kernels/rows.h"

namespace vitrail {
namespace {

/// What bind() put at the start of Launch::state with append_state.
template <typename T>
inline const T& state_of(const Launch& launch) {
  return *reinterpret_cast<const T*>(launch.state.data());
}

/// Offsets of every operand at row `row`; returns how many rows from there on lie on the innermost
/// axis.
inline int64_t locate(const RowLoop& loop, int64_t row, int64_t* offsets) {
  for (int64_t o = 0; o < loop.operands; ++o) offsets[o] = 0;
  if (loop.rank == 0) return 1;
  int64_t left = 0;
  for (int64_t axis = loop.rank - 1; axis >= 0; --axis) {
    const int64_t at = row % loop.dims[axis];
    row /= loop.dims[axis];
    if (axis == loop.rank - 1) left = loop.dims[axis] - at;
    for (int64_t o = 0; o < loop.operands; ++o) offsets[o] += at * loop.strides[o][axis];
  }
  return left;
}

/// Calls action(row, rows, offsets) for pieces of begin..end-1 of at most `most` rows, each on one
/// run of the innermost axis.
template <typename Action>
inline void for_segments(const RowLoop& loop, int64_t begin, int64_t end, int64_t most,
                         Action action) {
  int64_t offsets[RowLoop::kMaxOperands];
  while (begin < end) {
    int64_t rows = locate(loop, begin, offsets);
    rows = rows < most ? rows : most;
    rows = rows < end - begin ? rows : end - begin;
    action(begin, rows, static_cast<const int64_t*>(offsets));
    begin += rows;
  }
}

/// A tile of `rows` results of `cols` columns from column `first_col` on, through the epilogue.
inline void finish_rows(const RowState& state, const KernelArgs& args, const int64_t* offsets,
                        int64_t first_col, const float* tile, int64_t ld, int64_t rows,
                        int64_t cols, float* scratch) {
  TileOperand operands[EpilogueCode::kMaxOperands];
  TileOutput outputs[EpilogueCode::kMaxResults];
  for (int64_t i = 0; i < state.epilogue.operands; ++i) {
    const int64_t o = state.first + i;
    operands[i] = {
        static_cast<const float*>(args.inputs[o]) + offsets[o] + first_col * state.col[o],
        state.loop.step(o), state.col[o]};
  }
  for (int64_t i = 0; i < state.outputs; ++i) {
    const int64_t o = state.inputs + i;
    outputs[i] = {static_cast<float*>(args.outputs[i]) + offsets[o] + first_col * state.col[o],
                  state.loop.step(o), state.col[o]};
  }
  run_epilogue(state.epilogue, tile, ld, rows, cols, operands, outputs, scratch);
}

/// Runs a kernel that makes whole rows: `row(x, to)` from the row of input 0 to `cols` floats; it
/// may write where it reads (in place).
template <typename Row>
inline void run_rows(const RowState& state, const KernelArgs& args, int64_t task, float* scratch,
                     Row row) {
  const auto* x = static_cast<const float*>(args.inputs[0]);
  const int64_t begin = task * state.rows_per_task;
  int64_t end = begin + state.rows_per_task;
  end = end < state.loop.rows ? end : state.loop.rows;
  const bool direct =
      state.epilogue.kind == EpilogueCode::Kind::identity && state.col[state.inputs] == 1;
  for_segments(state.loop, begin, end, state.tile_rows,
               [&](int64_t, int64_t rows, const int64_t* offsets) {
                 const float* from = x + offsets[0];
                 if (direct) {
                   float* to = static_cast<float*>(args.outputs[0]) + offsets[state.inputs];
                   for (int64_t r = 0; r < rows; ++r)
                     row(from + r * state.loop.step(0), to + r * state.loop.step(state.inputs));
                   return;
                 }
                 for (int64_t r = 0; r < rows; ++r)
                   row(from + r * state.loop.step(0), scratch + r * state.ld);
                 finish_rows(state, args, offsets, 0, scratch, state.ld, rows, state.cols,
                             scratch + state.tile_rows * state.ld);
               });
}

}  // namespace
}  // namespace vitrail
