// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/epilogue.h"
#include "kernels/kernel.h"
#include "kernels/rows.h"

namespace vitrail {

/// attention: softmax(scale * q k^T + mask) v for each index of the batch axes (images, heads).
/// inputs: 0 q [batch..., m, d], 1 k [batch..., t, d], 2 v [batch..., t, dv], all f32 with last
/// stride 1, other strides arbitrary (heads are strided views, 0 repeats); 3 mask [batch..., m, t]
/// if ints has_mask, any strides, added to the scores; then, from epilogue_inputs on, the
/// epilogue's operands of the output's dims. outputs: [batch..., m, dv], any strides; must not
/// overlap k or v, may be q itself. floats: scale (default 1). A task takes some rows of one batch
/// index: it packs k and v, then for each few rows keeps all t scores in cache, so that the softmax
/// is the plain one over the whole row. Tactic: rows, of one task.
Refusal attention_accepts(const Problem& problem);
std::vector<Tactic> attention_tactics(const BoundProblem& problem, const Machine& machine,
                                      int workers);
/// `width`: floats of a vector, `block`: rows of a register tile.
Launch attention_bind(const BoundProblem& problem, const Tactic& tactic, int workers, int width,
                      int block);

struct AttentionState {
  RowLoop batch;  ///< operands: the inputs, then the outputs
  EpilogueCode epilogue;
  int64_t inputs, outputs, first;  ///< number of operands; first epilogue input
  int64_t has_mask;
  int64_t m, t, d, dv;
  int64_t row[RowLoop::kMaxOperands], col[RowLoop::kMaxOperands];  ///< strides of the last two axes
  int64_t rows_per_task, tasks_per_batch;
  int64_t score_ld, value_ld;  ///< floats from row to row of the score and result tiles
  // Scratch, in floats: packed k, packed v, block of q, scores, results, epilogue.
  int64_t k_at, v_at, q_at, score_at, result_at, epilogue_at;
  float scale;
};

}  // namespace vitrail
