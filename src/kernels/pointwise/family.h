// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/kernel.h"
#include "kernels/rows.h"

namespace vitrail {

/// pointwise: the problem's program on tensors, with epilogue_inputs = 1: register i is inputs[i].
/// inputs: all of the output's dims, any strides, 0 where they broadcast; the program may have up
/// to EpilogueCode::kMaxOperands + 1 of them. outputs: one for each result, all of the same dims;
/// an output may be an input with the same strides.
Refusal pointwise_accepts(const Problem& problem);
std::vector<Tactic> pointwise_tactics(const BoundProblem& problem, const Machine& machine,
                                      int workers);
Launch pointwise_bind(const BoundProblem& problem, const Tactic& tactic, const Machine& machine,
                      int workers);

struct PointwiseState {
  RowState rows;
  int64_t chunk;      ///< columns of a tile
  int64_t col_tasks;  ///< column chunks, each with its own tasks
};

}  // namespace vitrail
