// SPDX-License-Identifier: Apache-2.0
#include "kernels/kernel.h"

#include <iterator>

namespace vitrail {

#define VITRAIL_FAMILY(id) extern const KernelFamily id##_family;
#include "kernels/families.inc"
#undef VITRAIL_FAMILY
// kernel_list.inc is generated: it includes the kernels.inc of every family in families.inc.
#define VITRAIL_CPU_KERNEL(family, isa, variant) extern const CpuKernel family##_##variant##_##isa;
#include "kernel_list.inc"
#undef VITRAIL_CPU_KERNEL

namespace {
// The null at the end keeps the arrays legal while a list is empty.
const KernelFamily* const kFamilies[] = {
#define VITRAIL_FAMILY(id) &id##_family,
#include "kernels/families.inc"
#undef VITRAIL_FAMILY
    nullptr};
const CpuKernel* const kCpuKernels[] = {
#define VITRAIL_CPU_KERNEL(family, isa, variant) &family##_##variant##_##isa,
#include "kernel_list.inc"
#undef VITRAIL_CPU_KERNEL
    nullptr};

template <typename T>
const T* find(std::span<const T* const> list, std::string_view name) {
  for (const T* entry : list)
    if (entry->name == name) return entry;
  return nullptr;
}
}  // namespace

std::span<const KernelFamily* const> all_families() {
  return {kFamilies, std::size(kFamilies) - 1};
}
const KernelFamily* find_family(std::string_view name) { return find(all_families(), name); }
std::span<const CpuKernel* const> all_cpu_kernels() {
  return {kCpuKernels, std::size(kCpuKernels) - 1};
}
const CpuKernel* find_cpu_kernel(std::string_view name) { return find(all_cpu_kernels(), name); }

}  // namespace vitrail
