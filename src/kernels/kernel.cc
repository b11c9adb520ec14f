// SPDX-License-Identifier: Apache-2.0
#include "kernels/kernel.h"

#include <iterator>

namespace vitrail {

#define VITRAIL_FAMILY(id) extern const KernelFamily id##_family;
#include "kernels/families.inc"
#undef VITRAIL_FAMILY

namespace {
// The null at the end keeps the array legal while the list is empty.
const KernelFamily* const kFamilies[] = {
#define VITRAIL_FAMILY(id) &id##_family,
#include "kernels/families.inc"
#undef VITRAIL_FAMILY
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
const CpuKernel* find_cpu_kernel(std::string_view name) { return find(all_cpu_kernels(), name); }

}  // namespace vitrail
