// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/kernel.h"
#include "kernels/rows.h"

namespace vitrail {

/// pad: the input surrounded by more elements, or cropped (ONNX Pad).
/// inputs: 0 x of rank r, any element type of 1, 2, 4 or 8 bytes, any strides. outputs: the same
/// type and rank, any strides; must not overlap x. ints: before<i> elements put in front of axis i
/// (negative: taken away), the output's extent says how many follow; mode 0 constant (floats:
/// value), 1 reflect, 2 edge, 3 wrap. No epilogue.
Refusal pad_accepts(const Problem& problem);
std::vector<Tactic> pad_tactics(const BoundProblem& problem, const Machine& machine, int workers);
Launch pad_bind(const BoundProblem& problem, const Tactic& tactic, const Machine& machine,
                int workers);

/// Followed in Launch::state by one list per axis: for each output index the input's, or -1 for the
/// constant.
struct PadState {
  static constexpr int kMaxRank = RowLoop::kMaxRank;
  int64_t rank;                         ///< axes left; the elements of a block lie behind the last
  int64_t size;                         ///< bytes of an element
  int64_t block;                        ///< elements moved together: trailing axes without padding
  int64_t dims[kMaxRank];               ///< of the output
  int64_t in[kMaxRank], out[kMaxRank];  ///< strides, elements
  int64_t rows, rows_per_task;
  uint64_t value;  ///< the constant's bytes
};

}  // namespace vitrail
