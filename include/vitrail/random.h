// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "vitrail/tensor.h"

namespace vitrail {

/// 64 random bits for element i of a sequence: the finalizer of splitmix64 (Steele, Lea and Flood
/// 2014) on a Weyl sequence from `start`. Needs no state, so any element can be had alone.
inline uint64_t splitmix64(uint64_t start, int64_t i) {
  uint64_t z = start + static_cast<uint64_t>(i + 1) * 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

/// Elements uniform in [low, high) of a generator with this seed: the same on every machine.
Tensor random_tensor(DType dtype, const Dims& dims, uint64_t seed, double low = 0, double high = 1);

}  // namespace vitrail
