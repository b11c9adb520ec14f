// SPDX-License-Identifier: Apache-2.0
// The list alone: tests link another one in its place (tests/broken).
#include <iterator>

#include "kernels/kernel.h"

namespace vitrail {

// kernel_list.inc is generated: it includes the kernels.inc of every family in families.inc.
#define VITRAIL_CPU_KERNEL(family, isa, variant) extern const CpuKernel family##_##variant##_##isa;
#include "kernel_list.inc"
#undef VITRAIL_CPU_KERNEL

namespace {
// The null at the end keeps the array legal while the list is empty.
const CpuKernel* const kCpuKernels[] = {
#define VITRAIL_CPU_KERNEL(family, isa, variant) &family##_##variant##_##isa,
#include "kernel_list.inc"
#undef VITRAIL_CPU_KERNEL
    nullptr};
}  // namespace

std::span<const CpuKernel* const> all_cpu_kernels() {
  return {kCpuKernels, std::size(kCpuKernels) - 1};
}

}  // namespace vitrail
