// SPDX-License-Identifier: Apache-2.0
// The list of CPU kernels that this executable has instead of src/kernels/cpu_kernels.cc's. Kernels
// of the families named in VITRAIL_BROKEN ("copy,gemm") write one wrong number and are done.
#include <cstdlib>
#include <deque>
#include <string>
#include <vector>

#include "kernels/kernel.h"

namespace vitrail {

#define VITRAIL_CPU_KERNEL(family, isa, variant) extern const CpuKernel family##_##variant##_##isa;
#include "kernel_list.inc"
#undef VITRAIL_CPU_KERNEL

namespace {

const CpuKernel* const kSound[] = {
#define VITRAIL_CPU_KERNEL(family, isa, variant) &family##_##variant##_##isa,
#include "kernel_list.inc"
#undef VITRAIL_CPU_KERNEL
};

CpuKernel broken(CpuKernel kernel) {
  kernel.bind = [](const BoundProblem&, const Tactic&, const Machine&, int) {
    return Launch{.tasks = 1};
  };
  kernel.run = [](const BoundProblem& problem, const Launch&, const KernelArgs& args, int64_t,
                  void*, void*) noexcept {
    if (element_count(problem.outputs[0].dims) > 0) *static_cast<float*>(args.outputs[0]) = 0.5f;
  };
  return kernel;
}

std::vector<const CpuKernel*> list_kernels() {
  static std::deque<CpuKernel> copies;
  const char* given = std::getenv("VITRAIL_BROKEN");
  const std::string families = "," + std::string(given ? given : "") + ",";
  std::vector<const CpuKernel*> out;
  for (const CpuKernel* kernel : kSound) {
    if (families.find("," + std::string(kernel->family) + ",") != std::string::npos)
      kernel = &copies.emplace_back(broken(*kernel));
    out.push_back(kernel);
  }
  return out;
}

}  // namespace

std::span<const CpuKernel* const> all_cpu_kernels() {
  static const std::vector<const CpuKernel*> kernels = list_kernels();
  return kernels;
}

}  // namespace vitrail
