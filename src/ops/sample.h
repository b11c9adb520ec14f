// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "ops/op.h"

// Running one op by itself, outside any graph: for tests, kernels' conformance and folding.
namespace vitrail {

/// The inputs of a sample, drawn deterministically from `seed`. An absent input is an undefined
/// tensor.
std::vector<Tensor> draw_inputs(const Sample& sample, uint64_t seed = 1);

/// Runs the reference. Undefined tensors are absent inputs. Throws what the reference throws;
/// Error(internal) when it leaves an output undefined.
std::vector<Tensor> run_reference(const OpDef& op, const Attrs& attrs,
                                  const std::vector<Tensor>& inputs, int outputs = 1);

/// Runs the shape rule on inputs that are known as constants.
std::vector<ValueInfo> infer_constants(const OpDef& op, const Attrs& attrs,
                                       const std::vector<Tensor>& inputs, int outputs = 1);

}  // namespace vitrail
