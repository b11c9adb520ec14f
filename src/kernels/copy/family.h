// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/kernel.h"
#include "kernels/rows.h"

namespace vitrail {

/// copy: elements to another place: a change of layout, a broadcast (stride 0 in the input), a
/// window to a window. inputs: 0 x, any element type of 1, 2, 4 or 8 bytes, any strides. outputs:
/// x's type and dims, any strides; must not overlap x. No epilogue.
Refusal copy_accepts(const Problem& problem);
std::vector<Tactic> copy_tactics(const BoundProblem& problem, const Machine& machine, int workers);
Launch copy_bind(const BoundProblem& problem, const Tactic& tactic, const Machine& machine,
                 int workers);

/// Planes of rows x cols elements; columns are where the output is densest, rows where the input
/// is.
struct CopyState {
  RowLoop outer;  ///< planes; operand 0 the input, 1 the output
  int64_t size;   ///< bytes of an element
  int64_t rows, cols;
  int64_t in_row, in_col, out_row, out_col;  ///< strides, elements
  int64_t block_rows, block_cols;            ///< of a unit of work
  int64_t row_blocks, col_blocks, units, units_per_task;
};

}  // namespace vitrail
