// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>

#include "compile/gpu_plan.h"

namespace vitrail {

/// The name by which joint launches are switched off, as a kernel is (KernelSet::off).
constexpr const char* kJointKernel = "joint";

/// Generates joint launches (kernels/cuda/joint.h) for the steps that stand together, one for each
/// combination of choices that a point meets: `points`, or those of the plan's ranges. It follows
/// what stands ahead of it as its first step would. Steps whose kernels do not go together keep
/// their own launches. `module_of`: the index of a source among the plan's modules.
void add_joint_code(Plan& plan, const GpuTarget& target, const KernelSet& kernels,
                    const std::function<int(std::string source)>& module_of,
                    std::vector<Bindings> points = {});

}  // namespace vitrail
