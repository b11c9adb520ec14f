// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <string>
#include <vector>

#include "compile/storage.h"
#include "ir/graph.h"
#include "vitrail/rounding.h"

namespace vitrail {

/// The yardstick for plans in a narrow type: the reference on the fused graph, in which the inputs,
/// the matrices of weights and the values between steps are rounded, each when it is made. What is
/// inside a fusion is computed as ever; vectors of weights, Gram matrices, sums and outputs stay as
/// they are (has_narrow_weights, narrow_values): this is the least that a plan in the type does.
///
/// The fused graph is taken as passes leave it, before any kernel is asked: the yardstick becomes
/// neither longer when a kernel is missing and a fusion dissolves, nor finer when an exporter
/// writes a normalization in ten nodes, as roundings by node of the model would be.
///
/// Passes for plans of GPUs only are left out (passes/pipeline.h): a norm in front of a product in
/// one kernel rounds what it gives to the product, as the norm's own step would, so the yardstick
/// does.
///
/// Throws Error(unsupported) for a model with control flow, whose values a plan keeps in float32.
std::vector<Tensor> run_rounded(const ir::Graph& imported, const std::vector<Tensor>& inputs,
                                Rounding rounding, DType precision = DType::f32,
                                const std::vector<std::string>& disabled_passes = {});

/// Whether run_rounded takes the model.
bool has_yardstick(const ir::Graph& imported);

}  // namespace vitrail
