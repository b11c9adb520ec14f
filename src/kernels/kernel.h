// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <span>
#include <string>
#include <vector>

#include "base/machine.h"
#include "base/problem.h"
#include "base/tensor.h"

namespace vitrail {

/// Why a kernel does not take a problem; empty when it does. An answer, not an error.
using Refusal = std::string;

/// Addresses of a launch: element 0 of each operand, in the problem's order.
struct KernelArgs {
  const void* const* inputs = nullptr;
  void* const* outputs = nullptr;
};

/// What a kernel decided when the extents became known.
struct Launch {
  int64_t tasks =
      0;  ///< run() is called once for each task 0..tasks-1, in any order, on any thread
  size_t scratch_bytes = 0;  ///< private memory of one worker, 64-byte aligned, uninitialised
  size_t shared_bytes = 0;   ///< memory that all tasks of the launch share (partial sums), likewise
  std::vector<int64_t> state;  ///< the kernel's own numbers
  /// Phases: tasks of phase p+1 start when all of phase p have ended. tasks is the sum; phase_ends
  /// holds the running totals; empty: one phase.
  std::vector<int64_t> phase_ends;
};

/// One implementation of a family for the CPU: a sequential function of a task index. Bodies are
/// `static` or in an anonymous namespace, because each ISA compiles the same source.
struct CpuKernel {
  const char* name;  ///< "<family>_<type>_<isa>[_<kind>]", unique; stored in plans
  const char* family;
  Isa isa;
  /// Symbolic check. Strides that must be 1 and extents that must be constant are checked here.
  Refusal (*accepts)(const Problem& problem);
  /// Tactics worth timing at these extents, best guess first; never empty. The first is also what
  /// an untuned plan runs.
  std::vector<Tactic> (*tactics)(const BoundProblem& problem, const Machine& machine, int workers);
  /// Throws nothing but Error(internal); keys missing from the tactic take the kernel's default.
  Launch (*bind)(const BoundProblem& problem, const Tactic& tactic, const Machine& machine,
                 int workers);
  void (*run)(const BoundProblem& problem, const Launch& launch, const KernelArgs& args,
              int64_t task, void* scratch, void* shared) noexcept;
};

/// A static problem that a family is measured on, named after where it occurs.
struct BenchCase {
  std::string name;
  Problem problem;
};

/// A family: its convention is documented in family.h beside its kernels. The packed form of
/// constant operands belongs to the family, so that one weight serves every variant and ISA.
struct KernelFamily {
  const char* name;
  /// Packed form of constant input `index` (dense row-major with the problem's dims). Null, or the
  /// same tensor returned: as it is, and the operand's strides address it (a bias of C elements in
  /// an epilogue has the output's dims and strides 0, .., 0, 1).
  Tensor (*pack)(const Problem& problem, size_t index, const Tensor& dense);
  /// Plain definition in float64 on dense copies; what every variant is tested against. Floating
  /// tensors arrive and leave as f64, others in their own type; constants arrive unpacked. Outputs
  /// come preset with their extents.
  void (*reference)(const BoundProblem& problem, const std::vector<Tensor>& inputs,
                    std::vector<Tensor>& outputs);
  /// Problems for the conformance test: odd sizes, strided operands, each epilogue form. Symbols
  /// get random values from 1 to 40.
  std::vector<Problem> (*samples)();
  /// FLOP at these extents, for rooflines.
  double (*flop)(const BoundProblem& problem);
  /// Largest |result - reference| / max(1, |reference|) that a correct kernel can show on inputs
  /// uniform in [-1, 1], in units of 2^-23. Each family says how it follows from its reductions.
  double (*tolerance)(const BoundProblem& problem);
  /// What the bench runner times.
  std::vector<BenchCase> (*bench)();
  /// Bytes of pack()'s result, without making it: weights of a loaded plan are checked against it.
  /// Null, or -1 returned: as it is, and the operand's extents and strides must lie inside it.
  /// Asked only for problems that a kernel accepts.
  int64_t (*packed_bytes)(const Problem& problem, size_t index) = nullptr;
};

std::span<const KernelFamily* const> all_families();
const KernelFamily* find_family(std::string_view name);
/// Every CPU kernel compiled in, fastest ISA first within a family.
std::span<const CpuKernel* const> all_cpu_kernels();
const CpuKernel* find_cpu_kernel(std::string_view name);

}  // namespace vitrail
