// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/epilogue.h"
#include "kernels/kernel.h"

namespace vitrail {

/// What run() needs, inside Launch::state; the starts of the chunks of a pixel's sum follow.
struct PositionalState {
  struct Strides {
    int64_t n, h, w, c;
  };
  int64_t h, w, c, e, padded_e;
  Strides x;
  int64_t m_n, m_c;  ///< strides of M
  int64_t block_h, block_w, blocks_h, blocks_w;
  int64_t chunks, length, last;
  int64_t m_at, value_at, ring_at, middle_at;  ///< floats of scratch
  int64_t epilogue_inputs;
  Strides operand[EpilogueCode::kMaxOperands], output[EpilogueCode::kMaxResults];
  Pointwise activation;
  float imm;
  EpilogueCode store, epilogue;
};
constexpr int64_t kPositionalStateWords = (sizeof(PositionalState) + 7) / 8;

/// The activation of a problem; `constant` for none.
Pointwise positional_activation(const Problem& problem);

Refusal positional_accepts(const Problem& problem);
std::vector<Tactic> positional_tactics(const BoundProblem& problem, const Machine& machine,
                                       int workers);
Launch positional_bind(const BoundProblem& problem, const Tactic& tactic, const Machine& machine,
                       int workers);

}  // namespace vitrail
