// SPDX-License-Identifier: Apache-2.0
#include "base/machine.h"

#include <cpuid.h>
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "base/error.h"

namespace vitrail {
namespace {
constexpr const char* kIsaNames[] = {"baseline", "avx2", "avx512"};

struct CpuId {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};
/// Leaf of the CPUID instruction; zeros where the processor does not have it.
CpuId cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  CpuId r;
  if (static_cast<uint32_t>(__get_cpuid_max(leaf & 0x80000000u, nullptr)) < leaf) return r;
  __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
  return r;
}
bool bit(uint32_t word, int index) { return (word >> index & 1u) != 0; }

/// XCR0: which register files the operating system saves on a context switch. A processor may have
/// AVX-512 that the system does not save; using it then corrupts other processes.
uint64_t saved_state() {
  if (!bit(cpuid(1).ecx, 27)) return 0;
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

Isa detect_isa(uint64_t saved) {
  constexpr uint64_t kAvxState = 0x6, kAvx512State = 0xe6;
  const CpuId one = cpuid(1), seven = cpuid(7);
  const bool avx = (saved & kAvxState) == kAvxState && bit(one.ecx, 28);
  const bool avx2 = avx && bit(seven.ebx, 5) && bit(one.ecx, 12) /* FMA */ &&
                    bit(one.ecx, 29) /* F16C */ && bit(seven.ebx, 8) /* BMI2 */;
  if (!avx2) return Isa::baseline;
  const bool avx512 = (saved & kAvx512State) == kAvx512State && bit(seven.ebx, 16) /* F */ &&
                      bit(seven.ebx, 17) /* DQ */ && bit(seven.ebx, 30) /* BW */ &&
                      bit(seven.ebx, 31) /* VL */;
  return avx512 ? Isa::avx512 : Isa::avx2;
}

/// Data and unified caches as leaf 4 (Intel) or 0x8000001d (AMD) list them; where neither answers
/// the defaults of Machine stay.
void detect_caches(Machine& machine) {
  const CpuId vendor = cpuid(0);
  const bool amd = vendor.ebx == 0x68747541u /* "Auth" */ || vendor.ebx == 0x6f677948u /* "Hygo" */;
  const uint32_t leaf = amd ? 0x8000001du : 4u;
  constexpr uint32_t kMostCaches = 16;
  for (uint32_t i = 0; i < kMostCaches; ++i) {
    const CpuId r = cpuid(leaf, i);
    const uint32_t type = r.eax & 31u, level = r.eax >> 5 & 7u;
    if (type == 0) break;
    if (type == 2) continue;  // instructions
    const int64_t bytes = int64_t{1} * ((r.ebx >> 22) + 1) * ((r.ebx >> 12 & 1023u) + 1) *
                          ((r.ebx & 4095u) + 1) * (int64_t{r.ecx} + 1);
    if (level == 1) machine.l1_bytes = bytes;
    if (level == 2) machine.l2_bytes = bytes;
    if (level == 3) machine.l3_bytes = bytes;
  }
}

std::string brand() {
  char text[49] = {};
  for (uint32_t i = 0; i < 3; ++i) {
    const CpuId r = cpuid(0x80000002u + i);
    const uint32_t words[] = {r.eax, r.ebx, r.ecx, r.edx};
    std::memcpy(text + 16 * i, words, sizeof words);
  }
  std::string out = text;
  const size_t first = out.find_first_not_of(' ');
  if (first == std::string::npos) return "unknown x86-64 processor";
  return out.substr(first, out.find_last_not_of(' ') - first + 1);
}

/// Processors of this process's affinity mask, which containers and taskset narrow.
int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
  const unsigned all = std::thread::hardware_concurrency();
  return all > 0 ? static_cast<int>(all) : 1;
}

Machine detect() {
  Machine machine;
  const uint64_t saved = saved_state();
  machine.isa = detect_isa(saved);
  if (const char* limit = std::getenv("VITRAIL_MAX_ISA"); limit != nullptr && *limit != '\0')
    machine.isa = std::min(machine.isa,
                           with_context("VITRAIL_MAX_ISA", [&] { return isa_from_name(limit); }));
  const CpuId seven = cpuid(7), more = cpuid(7, 1);
  constexpr uint64_t kTileState = 0x60000;
  if (machine.isa == Isa::avx512) {
    machine.vnni = bit(seven.ecx, 11);
    machine.bf16 = bit(more.eax, 5);
    machine.amx = (saved & kTileState) == kTileState && bit(seven.edx, 24) && bit(seven.edx, 22);
  } else if (machine.isa == Isa::avx2) {
    machine.vnni = bit(more.eax, 4);
  }
  machine.cores = usable_cores();
  detect_caches(machine);
  machine.model = brand();
  return machine;
}
}  // namespace

const char* name_of(Isa isa) { return kIsaNames[static_cast<int>(isa)]; }

Isa isa_from_name(std::string_view name) {
  for (int i = 0; i < 3; ++i)
    if (name == kIsaNames[i]) return static_cast<Isa>(i);
  fail(Code::usage, "unknown instruction set '{}'; known are baseline, avx2, avx512",
       printable(std::string(name)));
}

const Machine& this_machine() {
  static const Machine machine = detect();
  return machine;
}

}  // namespace vitrail
