// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <set>
#include <span>
#include <string>

#include "kernels/gpu_kernel.h"
#include "kernels/kernel.h"

namespace vitrail {

/// Kernels that a build may use: those compiled in, less the ones that failed its verification.
struct KernelSet {
  std::span<const CpuKernel* const> all = all_cpu_kernels();
  std::span<const GpuKernel* const> gpu = all_gpu_kernels();
  std::set<std::string, std::less<>> off;

  bool has(const CpuKernel& kernel) const { return !off.contains(kernel.name); }
  bool has(const GpuKernel& kernel) const { return !off.contains(kernel.name); }
  /// By its name, which must be one of `gpu`.
  const GpuKernel& find_gpu(std::string_view name) const {
    return **std::find_if(gpu.begin(), gpu.end(),
                          [&](const GpuKernel* k) { return k->name == name; });
  }
  /// The kernel that a launch of `problem` runs on this machine without a choice, were none off.
  const CpuKernel* heuristic(const Problem& problem) const {
    for (const CpuKernel* kernel : all)
      if (runs(*kernel, problem)) return kernel;
    return nullptr;
  }
  /// The first that is not off; null: none.
  const CpuKernel* first(const Problem& problem) const {
    for (const CpuKernel* kernel : all)
      if (has(*kernel) && runs(*kernel, problem)) return kernel;
    return nullptr;
  }

 private:
  static bool runs(const CpuKernel& kernel, const Problem& problem) {
    return problem.family == kernel.family && kernel.isa <= this_machine().isa &&
           kernel.accepts(problem).empty();
  }
};

}  // namespace vitrail
