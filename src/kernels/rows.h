// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <type_traits>
#include <vector>

#include "base/problem.h"
#include "kernels/epilogue.h"

namespace vitrail {

/// The outer axes of several operands that are walked together: row r of operand o starts at an
/// offset from its element 0. Axes are merged where every operand allows it, so that the innermost
/// one, over which all offsets grow evenly, is as long as can be. Plain numbers, for Launch::state.
struct RowLoop {
  static constexpr int kMaxRank = 8, kMaxOperands = 16;
  int64_t rank, operands, rows;
  int64_t dims[kMaxRank];
  int64_t strides[kMaxOperands][kMaxRank];

  /// Extent of the innermost axis (1 without axes), and an operand's stride along it.
  int64_t inner() const { return rank == 0 ? 1 : dims[rank - 1]; }
  int64_t step(int64_t operand) const { return rank == 0 ? 0 : strides[operand][rank - 1]; }
};
static_assert(std::is_trivially_copyable_v<RowLoop>);

/// Axes of extents `dims` with each operand's strides along them. At most kMaxRank axes remain and
/// kMaxOperands operands are given: check_rows refuses other problems before.
RowLoop make_rows(const Dims& dims, const std::vector<Dims>& strides);

/// What a kernel whose result is rows of `cols` elements (the last axis) knows when bound. Operands
/// of the loop are the problem's inputs, then its outputs; inputs of another rank than the output
/// (a scale of C elements) stay where they are.
struct RowState {
  RowLoop loop;
  EpilogueCode epilogue;
  int64_t inputs, first;  ///< number of inputs; the first that the epilogue reads
  int64_t outputs;
  int64_t col[RowLoop::kMaxOperands];  ///< each operand's stride along the columns
  int64_t cols;
  int64_t ld;  ///< floats from row to row of a tile
  int64_t tile_rows, rows_per_task;
};
static_assert(std::is_trivially_copyable_v<RowState>);

/// Rows over the first axes of outputs[0]; a tile is a few thousand floats (one row when that is
/// longer). `nanoseconds`: estimated time of one element.
RowState bind_rows(const BoundProblem& problem, double nanoseconds, int workers);
/// Tasks and scratch (a tile, then the epilogue's buffers) of a row kernel, without its state.
int64_t row_tasks(const RowState& state);
size_t row_scratch(const RowState& state);

/// Reason why a problem has too many operands or axes for a RowLoop, or operands whose strides do
/// not match their extents; empty when it is fine.
std::string check_rows(const Problem& problem);

/// Splits `total` units of work of about `unit_cost` ns each into tasks: enough for every worker to
/// take several, none shorter than a few microseconds, each a multiple of `grain` units.
int64_t units_per_task(int64_t total, double unit_cost, int64_t grain, int workers);

}  // namespace vitrail
