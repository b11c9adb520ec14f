// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <span>
#include <string>
#include <vector>

#include "base/gpu.h"
#include "kernels/kernel.h"

namespace vitrail {

/// One implementation of a family for NVIDIA GPUs: a generator of CUDA C++ from a problem. The
/// source is compiled by NVRTC when a plan is built and stored in the plan as machine code with its
/// launches, which are expressions over the plan's symbols: the runtime has neither this struct nor
/// a compiler in its way. What a family computes, its reference, samples and tolerance are those of
/// KernelFamily; a family's GPU rows are in <family>/cuda.cc.
///
/// Types. Operands may be f32, f16 or bf16 in any mixture, input and output alike, unless accepts()
/// says otherwise; products are summed in float32, statistics and pointwise programs computed in
/// float32, results rounded once, to nearest even. f32 operands are computed in true float32 unless
/// the problem's ints say tf32 = 1. A constant's dtype says what it is packed to.
///
/// Rules of every kernel:
/// - vt_wait() in every thread before the first read of anything but constants and before the first
///   write to global memory: a launch may start before its predecessor has ended (programmatic
///   dependent launch). Constants may be prefetched before it. vt_trigger() as early as possible.
/// - Results depend on nothing but the inputs: no float atomics, sums in a fixed order.
/// - Reads and writes stay inside the operands' windows and what is spare after their rows
///   (spare_of() in kernels/cuda/text.h); loads wider than an element only where
///   extents, strides and the operand's alignment (Operand has none: 16 bytes for packed constants,
///   see aligned() in kernels/cuda/text.h) allow.
/// - Symbolic extents become launch numbers, constant ones literals (kernels/cuda/text.h does
/// both).
///
/// Rows that call a library ("<family>_cublaslt", "<family>_cudnn") give launches with
/// GpuLaunch::library, which may stand among launches of their own. They accept nothing where the
/// library or the device is not there (GpuMachine::cublas_lt, cudnn, device), may have no tactics
/// at all at some extents, and libraries' kernels take no part in programmatic launches: whoever
/// runs launches gives them, and what follows them, full edges.
struct GpuKernel {
  const char* name;  ///< "<family>_cuda[_<kind>]", unique; stored in plans
  const char* family;
  /// Symbolic check, as for CpuKernel.
  Refusal (*accepts)(const Problem& problem, const GpuMachine& machine);
  /// Tactics worth timing at these extents, best guess first; never empty but for libraries. The
  /// first is also what an untuned plan runs.
  std::vector<Tactic> (*tactics)(const BoundProblem& problem, const GpuMachine& machine);
  /// Deterministic: equal arguments, equal text. Keys missing from the tactic take the kernel's
  /// default. Called for accepted problems only.
  GpuCode (*generate)(const Problem& problem, const Tactic& tactic, const GpuMachine& machine);
  /// Packed form of constant input `index` (dense row-major; floats as float32), cast to the
  /// problem's dtype afterwards. The same function in all GPU rows of a family. Null: cast only.
  Tensor (*pack)(const Problem& problem, size_t index, const Tensor& dense) = nullptr;
  /// Whether an untuned plan takes this row before those ahead of it in the list at these extents.
  /// Null: it never does. Rows with it stand last, and run only where it says so or a tuner did.
  bool (*preferred)(const BoundProblem& problem, const GpuMachine& machine) = nullptr;
  /// Why the parts of the fusion as steps of their own are predicted to be faster at these extents;
  /// nothing: they are not. Null: a fusion always pays.
  Refusal (*pays)(const BoundProblem& problem, const GpuMachine& machine) = nullptr;
};

/// Every GPU kernel, fastest first within a family.
std::span<const GpuKernel* const> all_gpu_kernels();
const GpuKernel* find_gpu_kernel(std::string_view name);
/// The packed constant, whatever the row says.
Tensor gpu_pack(const GpuKernel& kernel, const Problem& problem, size_t index, const Tensor& dense);

}  // namespace vitrail
