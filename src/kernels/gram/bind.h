// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/kernel.h"

namespace vitrail {

/// What run() needs, inside Launch::state.
struct GramState {
  int64_t batch, rows, cols, channels;  ///< tokens are rows x cols
  int64_t x_batch, x_row, x_col, x_channel;
  int64_t out_batch, out_row, out_col;
  int64_t padded;  ///< channels rounded up to whole panels of 32, the widest block of registers
  int64_t
      parts;  ///< tasks of the first phase for one image; the second phase has one task an image
};

Refusal gram_accepts(const Problem& problem);
std::vector<Tactic> gram_tactics(const BoundProblem& problem, const Machine& machine, int workers);
Launch gram_bind(const BoundProblem& problem, const Tactic& tactic, const Machine& machine,
                 int workers);

}  // namespace vitrail
