// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <vector>

#include "plan/plan.h"

namespace vitrail {

/// The bind-time symbol that picks a candidate of a stand's plan: its choices hold for 0, 1, ...
inline constexpr const char* kStandCandidate = "stand_candidate";

/// What a GPU kernel is timed on, as a plan like any other, so that launches are exactly those of a
/// session: one step `launches` times, each waiting for the one before. All share the operands that
/// vary, which then lie in the device's cache if they would behind their producer; weights are
/// there in `weight_sets` copies that take turns, because a plan's others come between two uses.
struct StandRequest {
  const Step* step = nullptr;
  const BoundProblem* bound = nullptr;
  Bindings at;                           ///< all symbols of the step's problem
  std::vector<Tensor> weights;           ///< of each input; undefined: it varies
  std::vector<KernelChoice> candidates;  ///< with code; `when` is set here
  std::vector<Tensor> modules;
  std::string target;
  int launches = 1, weight_sets = 1;
};
/// All symbols are bound when the plan is bound. Throws Error(resource) for operands above a
/// quarter of the range that kernels can address.
Plan stand_plan(const StandRequest& request);

/// Numbers uniform in [-1, 1], zeros and ones in other types, and so that large tensors cost no
/// more than a copy: a chip that multiplies zeros runs faster than it ever will.
Tensor varied(DType dtype, const Dims& dims);

/// How often to launch: long enough to be timed, of a kernel estimated at `microseconds`.
int stand_launches(double microseconds);

}  // namespace vitrail
