// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/kernel.h"
#include "kernels/rows.h"

namespace vitrail {

/// What a reduction computes; the number in ints op.
enum class ReduceOp : int64_t { sum, mean, max, min, l2, sumsq, prod };

/// reduce: over any set of axes. inputs: 0 x, f32, any strides; then, from epilogue_inputs on, the
/// epilogue's operands of the output's dims. outputs: x's dims with 1 for reduced axes, any
/// strides. ints: axes, a bit for each reduced axis; op, a ReduceOp. Sums are kept in float32 over
/// runs of 256 terms in each vector lane, and runs are added up: the error grows with the number of
/// runs, not of terms. max and min give NaN where a term is NaN.
Refusal reduce_accepts(const Problem& problem);
std::vector<Tactic> reduce_tactics(const BoundProblem& problem, const Machine& machine,
                                   int workers);
Launch reduce_bind(const BoundProblem& problem, const Tactic& tactic, const Machine& machine,
                   int workers);

struct ReduceState {
  RowState rows;  ///< over the kept axes; columns are the one along which the output is densest
  RowLoop terms;  ///< over the reduced axes; operand 0 is x
  int64_t chunk, col_tasks;  ///< columns of a tile; number of tiles in a row
  int64_t by_column;         ///< vectors lie along the columns, else along the reduced axes
  ReduceOp op;
  float inverse_count;
};

}  // namespace vitrail
