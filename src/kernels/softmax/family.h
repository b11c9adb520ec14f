// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/kernel.h"
#include "kernels/rows.h"

namespace vitrail {

/// softmax: exp(x - max) / sum over the last axis.
/// inputs: 0 x [..., c], last stride 1; epilogue operands from epilogue_inputs on, of the output's
/// dims with any strides. outputs: x's dims, any strides; may be x itself.
/// A row with a NaN, or of -infinity only, becomes NaN, as ONNX Runtime's does.
Refusal softmax_accepts(const Problem& problem);
std::vector<Tactic> softmax_tactics(const BoundProblem& problem, const Machine& machine,
                                    int workers);
Launch softmax_bind(const BoundProblem& problem, const Tactic& tactic, const Machine& machine,
                    int workers);

}  // namespace vitrail
