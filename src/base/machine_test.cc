// SPDX-License-Identifier: Apache-2.0
#include "base/machine.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace vitrail {
namespace {
TEST(Machine, DescribesThisProcessor) {
  const Machine& machine = this_machine();
  EXPECT_GE(machine.cores, 1);
  EXPECT_GE(machine.l1_bytes, 8 << 10);
  EXPECT_GE(machine.l2_bytes, machine.l1_bytes);
  EXPECT_FALSE(machine.model.empty());
  // The compiler's own detection, which also asks the operating system.
  EXPECT_LE(machine.isa >= Isa::avx2,
            __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
  EXPECT_LE(machine.isa >= Isa::avx512,
            __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl"));
}
TEST(Machine, NamesGoBothWays) {
  for (Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512})
    EXPECT_EQ(isa_from_name(name_of(isa)), isa);
  EXPECT_THROW(isa_from_name("sse9"), Error);
}
}  // namespace
}  // namespace vitrail
