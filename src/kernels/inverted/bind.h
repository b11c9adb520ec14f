// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/epilogue.h"
#include "kernels/kernel.h"

namespace vitrail {

/// What run() needs, inside Launch::state; the starts of the chunks of both products follow.
struct InvertedState {
  static constexpr int64_t kMostRows = 16;  ///< of the depthwise window
  struct Strides {
    int64_t n, h, w, c;
  };
  struct Chunks {
    int64_t count, length, last;
  };
  int64_t h, w, c, e, padded_e, o, out_h, out_w;
  int64_t kh, kw, stride_h, stride_w, pad_top, pad_left;
  Strides x;
  int64_t block_h, block_w, blocks_h, blocks_w;
  int64_t hidden_w;  ///< columns of `hidden` under a block
  int64_t normalize;
  double eps;
  Chunks expand, project;
  int64_t norm_at, ring_at, middle_at;  ///< floats of scratch
  int64_t epilogue_inputs;
  Strides operand[EpilogueCode::kMaxOperands], output[EpilogueCode::kMaxResults];
  Pointwise activation2;
  float imm2;
  EpilogueCode first, epilogue;
};
constexpr int64_t kInvertedStateWords = (sizeof(InvertedState) + 7) / 8;

/// activation1 or activation2 of a problem; `constant` for none.
Pointwise inverted_activation(const Problem& problem, const char* key);

Refusal inverted_accepts(const Problem& problem);
std::vector<Tactic> inverted_tactics(const BoundProblem& problem, const Machine& machine,
                                     int workers);
Launch inverted_bind(const BoundProblem& problem, const Tactic& tactic, const Machine& machine,
                     int workers);

}  // namespace vitrail
