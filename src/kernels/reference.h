// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <vector>

#include "base/problem.h"
#include "base/tensor.h"

namespace vitrail {

/// Calls `action(index)` for every multi-index of `dims` in row-major order; once for a scalar.
void for_each_index(const Dims& dims, const std::function<void(const Dims& index)>& action);

/// The epilogue of a problem in float64, as family references end: register 0 is `own` (dense, the
/// kernel's result before the epilogue), the others are the dense inputs from epilogue_inputs on.
/// Writes results[r] to outputs[r].
void apply_epilogue(const Problem& problem, const Tensor& own, const std::vector<Tensor>& inputs,
                    std::vector<Tensor>& outputs);

/// Rounding an epilogue can add, in the units of KernelFamily::tolerance: each instruction's
/// approximation, with the growth of what came before it under the inputs that samples have.
double epilogue_tolerance(const Problem& problem, double own);

/// Reason to refuse an epilogue that no kernel can run: registers out of range, results that do not
/// match the outputs, operands whose dims differ from the output's. Empty: fine.
std::string check_epilogue(const Problem& problem);

}  // namespace vitrail
