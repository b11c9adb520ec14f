// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/speed.h"
#include "base/error.h"

namespace vitrail::cuda {
namespace {

// Registers "%f0, %f1, .." of an instruction's operand.
std::string registers(const char* name, int first, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += fmt::format("{}%{}{}", i ? ", " : "", name, first + i);
  return out;
}

// Adds up %f0..%f(count-1) and stores the sum where the second parameter says, if it is not null:
// the products must have a use.
std::string keep(int count) {
  std::string out;
  for (int i = 1; i < count; ++i) out += fmt::format("  add.f32 %f0, %f0, %f{};\n", i);
  return out + R"(  ld.param.u64 %rd1, [out];
  setp.eq.u64 %p1, %rd1, 0;
  @%p1 bra done;
  st.global.f32 [%rd1], %f0;
done:
  ret;
}
)";
}

std::string head(const char* name, const char* more) {
  return fmt::format(R"(
.visible .entry {}(.param .u64 rounds, .param .u64 out)
{{
  .reg .pred %p<4>;
  .reg .u64 %rd<8>;
  .reg .f32 %f<160>;
  .reg .b32 %r<16>;
{}  ld.param.u64 %rd0, [rounds];
)",
                     name, more);
}
// Around a body that is run %rd0 times.
std::string loop(const std::string& body) {
  return "again:\n" + body + R"(  sub.u64 %rd0, %rd0, 1;
  setp.ne.u64 %p0, %rd0, 0;
  @%p0 bra again;
)";
}
std::string zeros(int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += fmt::format("  mov.f32 %f{}, 0f00000000;\n", i);
  return out;
}

// Eight chains of multiply-adds, four long each round: 64 FLOP a thread and round.
std::string vector_kernel() {
  std::string body;
  for (int repeat = 0; repeat < 4; ++repeat)
    for (int i = 0; i < 8; ++i)
      body += fmt::format("  fma.rn.f32 %f{0}, %f{0}, 0f3F7FFFFF, 0f3F000000;\n", i);
  return head("vector", "") + zeros(8) + loop(body) + keep(8);
}

// Eight accumulators of mma.sync m16n8: 8 * 2 * 16 * 8 * k FLOP a warp and round.
std::string mma_kernel(const char* name, const char* type, int k) {
  std::string body;
  for (int i = 0; i < 8; ++i) {
    const std::string sums = registers("f", 4 * i, 4);
    body += fmt::format(
        "  mma.sync.aligned.m16n8k{}.row.col.f32.{}.{}.f32 {{{}}}, {{%r0, %r1, %r2, %r3}}, {{%r4, "
        "%r5}}, {{{}}};\n",
        k, type, type, sums, sums);
  }
  std::string factors;  // small numbers in each of the types
  for (int i = 0; i < 6; ++i) factors += fmt::format("  mov.b32 %r{}, 0x2E102E10;\n", i);
  return head(name, "") + factors + zeros(32) + loop(body) + keep(32);
}

// Eight wgmma m64n256 on one accumulator, factors in shared memory: 8 * 2 * 64 * 256 * k FLOP a
// block of 128 threads and round. Core matrices of 8 rows x 16 bytes lie one after the other, two
// along k, then along rows: the descriptors' strides are 128 and 256 bytes.
std::string wgmma_kernel(const char* name, const char* type, int k) {
  constexpr int kSums = 128;
  const bool half = k == 16;
  std::string body = "  wgmma.fence.sync.aligned;\n";
  for (int i = 0; i < 8; ++i)
    body += fmt::format(
        "  wgmma.mma_async.sync.aligned.m64n256k{}.f32.{}.{} {{{}}}, %rd4, %rd5, 1, 1, 1{};\n", k,
        type, type, registers("f", 0, kSums), half ? ", 0, 0" : "");
  body += "  wgmma.commit_group.sync.aligned;\n  wgmma.wait_group.sync.aligned 0;\n";
  return head(name, "  .shared .align 1024 .b8 factors[16384];\n") + R"(
  mov.u32 %r0, factors;
  mov.u32 %r1, %tid.x;
  shl.b32 %r2, %r1, 2;
  add.u32 %r3, %r0, %r2;
  mov.u32 %r4, 0;
fill:
  mad.lo.u32 %r5, %r4, 2654435761, %r1;
  and.b32 %r5, %r5, 0x03FF03FF;
  or.b32 %r5, %r5, 0x2C002C00;
  st.shared.b32 [%r3], %r5;
  add.u32 %r3, %r3, 512;
  add.u32 %r4, %r4, 1;
  setp.lt.u32 %p2, %r4, 32;
  @%p2 bra fill;
  fence.proxy.async.shared::cta;
  bar.sync 0;
  shr.u32 %r6, %r0, 4;
  cvt.u64.u32 %rd4, %r6;
  or.b64 %rd4, %rd4, 0x0000001000080000;
  add.u64 %rd5, %rd4, 512;
)" + zeros(kSums) +
         loop(body) + keep(kSums);
}

// Copies `count` times 16 bytes, `rounds` times over, by all threads of the grid.
constexpr const char* kCopy = R"(
.visible .entry copy(.param .u64 rounds, .param .u64 from, .param .u64 to, .param .u64 count)
{
  .reg .pred %p<4>;
  .reg .u64 %rd<12>;
  .reg .b32 %r<12>;
  ld.param.u64 %rd0, [rounds];
  ld.param.u64 %rd1, [from];
  ld.param.u64 %rd2, [to];
  ld.param.u64 %rd3, [count];
  mov.u32 %r0, %ctaid.x;
  mov.u32 %r1, %ntid.x;
  mov.u32 %r2, %tid.x;
  mad.lo.u32 %r3, %r0, %r1, %r2;
  cvt.u64.u32 %rd4, %r3;
  mov.u32 %r4, %nctaid.x;
  mul.lo.u32 %r5, %r4, %r1;
  cvt.u64.u32 %rd5, %r5;
again:
  mov.u64 %rd6, %rd4;
next:
  setp.ge.u64 %p0, %rd6, %rd3;
  @%p0 bra over;
  shl.b64 %rd7, %rd6, 4;
  add.u64 %rd8, %rd1, %rd7;
  add.u64 %rd9, %rd2, %rd7;
  ld.global.cg.v4.b32 {%r6, %r7, %r8, %r9}, [%rd8];
  st.global.cg.v4.b32 [%rd9], {%r6, %r7, %r8, %r9};
  add.u64 %rd6, %rd6, %rd5;
  bra next;
over:
  sub.u64 %rd0, %rd0, 1;
  setp.ne.u64 %p1, %rd0, 0;
  @%p1 bra again;
  ret;
}
)";

constexpr const char* kEmpty = "\n.visible .entry empty()\n{\n  ret;\n}\n";
// As the first lines of every kernel of a plan.
constexpr const char* kEmptyHopper = R"(
.visible .entry empty()
{
  griddepcontrol.launch_dependents;
  griddepcontrol.wait;
  ret;
}
)";

}  // namespace

std::string speed_kernels(bool hopper) {
  if (hopper)
    return std::string(".version 8.0\n.target sm_90a\n.address_size 64\n") + kEmptyHopper +
           wgmma_kernel("wgmma_float16", "f16", 16) + wgmma_kernel("wgmma_bfloat16", "bf16", 16) +
           wgmma_kernel("wgmma_tf32", "tf32", 8);
  return std::string(".version 7.0\n.target sm_80\n.address_size 64\n") + kCopy + kEmpty +
         vector_kernel() + mma_kernel("mma_float16", "f16", 16) +
         mma_kernel("mma_bfloat16", "bf16", 16) + mma_kernel("mma_tf32", "tf32", 8);
}

}  // namespace vitrail::cuda
