// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

#include "plan/plan.h"

namespace vitrail {

/// What the steps of a GPU plan that run on the processor, by their op's reference, cost at the opt
/// shapes: a line an op, with the bytes copied between GPU and processor and the time of the
/// reference here on made-up inputs ("2 steps run on the processor by the reference of Greater
/// (..)"). Extents that depend on data count as their bounds.
/// `timed` false: the bytes alone, which are the same in every build.
std::vector<std::string> account_of_host_steps(const Plan& plan, bool timed = true);

}  // namespace vitrail
