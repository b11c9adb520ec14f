// SPDX-License-Identifier: Apache-2.0
#include "kernels/kernel.h"

#include <gtest/gtest.h>

#include <set>

namespace vitrail {
namespace {
TEST(KernelList, NamesAreUniqueAndFamiliesExist) {
  std::set<std::string> names;
  for (const CpuKernel* kernel : all_cpu_kernels()) {
    EXPECT_TRUE(names.insert(kernel->name).second) << kernel->name;
    EXPECT_NE(find_family(kernel->family), nullptr) << kernel->name;
    EXPECT_EQ(find_cpu_kernel(kernel->name), kernel);
    const std::string isa = name_of(kernel->isa);
    EXPECT_NE(std::string(kernel->name).find("_" + isa), std::string::npos) << kernel->name;
  }
}
TEST(KernelList, FastestComesFirstAndEachFamilyHasABaseline) {
  for (const KernelFamily* family : all_families()) {
    EXPECT_EQ(find_family(family->name), family);
    Isa last = Isa::avx512;
    bool baseline = false;
    for (const CpuKernel* kernel : all_cpu_kernels()) {
      if (std::string_view(kernel->family) != family->name) continue;
      EXPECT_LE(kernel->isa, last) << kernel->name;
      last = kernel->isa;
      baseline |= kernel->isa == Isa::baseline;
    }
    EXPECT_TRUE(baseline) << family->name;
  }
}
}  // namespace
}  // namespace vitrail
