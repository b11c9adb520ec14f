// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "plan/plan.h"
#include "vitrail/check.h"

namespace vitrail {

/// Values by name, as the references of the ops give them.
using ReferenceValues = std::map<std::string, Tensor, std::less<>>;

/// The values that the plan's top steps read and write: of `imported` after the passes (a plan's
/// values have the names of that graph), then with its fusions dissolved for those that only a
/// body holds. Values of other names are left out. `inputs` in the order of the graph's inputs.
ReferenceValues reference_values(const ir::Graph& imported, const Plan& plan,
                                 const std::vector<Tensor>& inputs, DType precision);

/// See compare_steps in vitrail/check.h.
std::vector<StepDifference> replay_steps(const ir::Graph& imported,
                                         std::shared_ptr<const Plan> plan,
                                         const std::vector<Tensor>& inputs,
                                         const StepOptions& options);

}  // namespace vitrail
