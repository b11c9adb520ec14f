// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/kernel.h"
#include "kernels/rows.h"

namespace vitrail {

/// layernorm: (x - mean) / sqrt(variance + eps) * scale + bias over the last axis, the variance
/// being the mean squared deviation (Ba et al. 2016, ONNX LayerNormalization with axis -1). inputs:
/// 0 x [..., c], last stride 1; then scale [c] if ints has_scale, bias [c] if has_bias, both with
/// stride 1; then, from epilogue_inputs on, the epilogue's operands of the output's dims with any
/// strides. outputs: x's dims, any strides; may be x itself. floats: eps.
/// The mean first, then squared deviations from it, in float32 over 2 x vector lanes: no
/// cancellation for rows far from zero.
Refusal layernorm_accepts(const Problem& problem);
std::vector<Tactic> layernorm_tactics(const BoundProblem& problem, const Machine& machine,
                                      int workers);
Launch layernorm_bind(const BoundProblem& problem, const Tactic& tactic, const Machine& machine,
                      int workers);

struct LayernormState {
  RowState rows;
  int64_t scale, bias;  ///< index of the input, or -1
  float eps, inverse_count;
};

}  // namespace vitrail
