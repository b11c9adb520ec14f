// SPDX-License-Identifier: Apache-2.0
// Attention by wgmma: where it is offered, how it is launched, and that its registers suffice.
#include <gtest/gtest.h>

#include <algorithm>

#include "compile/nvrtc.h"
#include "kernels/gpu_kernel.h"
#include "kernels/samples.h"

namespace vitrail {
namespace {

const GpuKernel& row() { return *find_gpu_kernel("attention_cuda_mma"); }

/// `count` heads of d inside tokens, as CvT-13's attentions have them.
Problem heads(int64_t n, int64_t count, int64_t queries, int64_t keys, int64_t d,
              DType type = DType::f16, double scale = 0.125) {
  const auto of = [&](int64_t rows) {
    Operand o = strided({n, count, rows, d}, {rows * count * d, d, count * d, 1});
    o.dtype = type;
    return o;
  };
  Problem p = sample_problem("attention", {of(queries), of(keys), of(keys)}, of(queries));
  p.floats = {{"scale", scale}};
  for (const char* name : {"align_in0", "align_in1", "align_in2", "align_out0"}) p.ints[name] = 16;
  return p;
}
std::vector<Tactic> tactics(const Problem& p, int sm = 90) {
  EXPECT_EQ(row().accepts(p, typical_gpu(sm)), "");
  return row().tactics(bind(p, {}), typical_gpu(sm));
}
bool wide(const Tactic& t) { return t.contains("wide"); }
int64_t count_wide(const Problem& p, int sm = 90) {
  const std::vector<Tactic> list = tactics(p, sm);
  return std::count_if(list.begin(), list.end(), wide);
}

TEST(WideAttention, IsOfferedOnHopperForAlignedHeads) {
  EXPECT_GT(count_wide(heads(1, 1, 3136, 784, 64)), 0);
  EXPECT_EQ(count_wide(heads(1, 1, 3136, 784, 64), 80), 0);
  EXPECT_EQ(count_wide(heads(1, 1, 3136, 784, 36)), 0);
  Problem odd = heads(1, 1, 3136, 784, 64);
  odd.ints["align_in2"] = 8;
  EXPECT_EQ(count_wide(odd), 0);
}

TEST(WideAttention, StandsBesideTheOther) {
  for (const int64_t n : {1, 8, 32})
    for (const Problem& p :
         {heads(n, 1, 3136, 784, 64), heads(n, 3, 784, 196, 64), heads(n, 6, 197, 50, 64)}) {
      const std::vector<Tactic> list = tactics(p);
      EXPECT_TRUE(wide(list.front())) << p.str();
      EXPECT_FALSE(std::all_of(list.begin(), list.end(), wide)) << p.str();
    }
  EXPECT_EQ(count_wide(heads(8, 6, 1, 50, 64)), 0);
}

TEST(WideAttention, FillsTheDeviceAtBatchOne) {
  const Problem p = heads(1, 1, 3136, 784, 64);
  const GpuLaunch launch = row().generate(p, tactics(p).front(), typical_gpu(90)).launches.at(0);
  EXPECT_GE(launch.grid[0].eval({}), 90);
  EXPECT_LE(launch.grid[0].eval({}), 132);
  EXPECT_GT(launch.cluster, 1);
  EXPECT_EQ(launch.grid[0].eval({}) % launch.cluster, 0);
}

// Every tactic of some shapes: shared memory and threads within the limits, and no spills.
TEST(WideAttention, FitsRegistersAndSharedMemory) {
  const GpuMachine machine = typical_gpu(90);
  const Problem problems[] = {
      heads(1, 1, 3136, 784, 64), heads(32, 1, 3136, 784, 64, DType::bf16),
      heads(1, 6, 197, 50, 64),   heads(8, 2, 300, 131, 128, DType::f16, -0.5),
      heads(2, 4, 150, 1000, 32), heads(2, 4, 150, 77, 96),
      heads(8, 3, 784, 196, 24)};
  for (const Problem& p : problems) {
    bool compiled = false;
    for (const Tactic& t : tactics(p)) {
      if (!wide(t)) continue;
      const GpuCode code = row().generate(p, t, machine);
      const GpuLaunch& launch = code.launches.at(0);
      EXPECT_LE(launch.shared_bytes, machine.shared_bytes);
      EXPECT_LE(launch.threads, 512);
      EXPECT_EQ(launch.threads % 128, 0);
      if (!have_nvrtc() || compiled) continue;
      compiled = true;  // some 0.7 s each
      for (const KernelResources& r : compile_cuda(code.source, machine.architecture()).resources) {
        EXPECT_EQ(r.spill_bytes, 0) << p.str() << ", " << r.registers << " registers";
        EXPECT_LE(r.registers * launch.threads, 65536);
      }
    }
  }
}

}  // namespace
}  // namespace vitrail
