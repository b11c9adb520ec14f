// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/gpu.h"
#include "compile/code_compiler.h"
#include "compile/kernel_set.h"
#include "compile/timing_cache.h"
#include "ir/graph.h"
#include "plan/plan.h"
#include "vitrail/builder.h"

namespace vitrail {

/// What a GPU build builds for.
struct GpuTarget {
  GpuMachine machine;
  DType storage = DType::f32;  ///< of values between steps, and of weights
  DType inputs = DType::f32, outputs = DType::f32;
  bool tf32 = false;
  std::string cache_folder;
};
/// Nothing for a build for the CPU. Throws Error(unsupported) for a precision the CPU does not
/// have, Error(usage) for an unknown device or architecture.
std::optional<GpuTarget> gpu_target(const BuildOptions& options);

/// The first GPU kernel of ours that takes the problem and is not switched off; null, and why not.
const GpuKernel* first_gpu_kernel(const Problem& problem, const GpuMachine& machine,
                                  const KernelSet& kernels, std::string* why);

/// Sets what the problem of a launch says only on a GPU: types of packed weights, and the alignment
/// of operands whose values are known (see vector_width in kernels/cuda/text.h).
void set_weight_types(Problem& problem, const std::vector<bool>& packed, const GpuTarget& target);
void set_alignments(Step& step, const Plan& plan);

/// What runs a problem at these extents unless something is timed: the first row that says it is
/// preferred there, otherwise the first kernel, with its first tactic. Nothing, and why, when none
/// takes it.
std::optional<TimedCandidate> heuristic_choice(const BoundProblem& bound, const GpuMachine& machine,
                                               const KernelSet& kernels,
                                               std::string* why = nullptr);

/// The heuristic choice for every launch: at opt and, unless sums must have one order, at each
/// point of the plan's ranges. Sets target and choices, without code.
void choose_gpu_kernels(Plan& plan, const GpuTarget& target, const KernelSet& kernels);
/// A line on the libraries that the plan calls, or why it calls none.
std::string account_of_libraries(const Plan& plan, const GpuTarget& target);
/// Generates and compiles the code of all choices, and of joint launches (see add_joint_code).
void add_gpu_code(Plan& plan, const GpuTarget& target, const KernelSet& kernels,
                  CodeCompiler& compiler, std::vector<Bindings> points = {});

}  // namespace vitrail
