// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace vitrail {

/// Levels of run-time dispatch; each includes the ones before it.
/// baseline: x86-64 with SSE2. avx2: AVX2, FMA, F16C. avx512: F, BW, DQ, VL.
enum class Isa : uint8_t { baseline, avx2, avx512 };
const char* name_of(Isa isa);
Isa isa_from_name(std::string_view name);  ///< throws Error(usage)

/// What kernels and the tuner need to know of the processor.
struct Machine {
  Isa isa = Isa::baseline;  ///< highest usable level, after VITRAIL_MAX_ISA
  bool vnni = false, bf16 = false, amx = false;
  int cores = 1;  ///< processors this process may run on
  int64_t l1_bytes = 32 << 10, l2_bytes = 1 << 20,
          l3_bytes = 16 << 20;  ///< data caches of one core
  std::string model;            ///< as the processor names itself
};

/// The machine this process runs on. VITRAIL_MAX_ISA=baseline|avx2|avx512 lowers `isa`; another
/// value throws Error(usage). Read once.
const Machine& this_machine();

}  // namespace vitrail
