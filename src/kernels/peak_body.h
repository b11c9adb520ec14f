// SPDX-License-Identifier: Apache-2.0
// The loop behind peak.h; compiled once per ISA.
#pragma once
#include "kernels/simd.h"

namespace vitrail {
namespace {

// More chains than a multiply-add takes cycles on two units, as many as there are registers.
constexpr int kPeakChains = 12;

inline float peak_loop(int64_t rounds) {
  Vec sums[kPeakChains];
  for (int i = 0; i < kPeakChains; ++i) sums[i] = Vec::all(static_cast<float>(i));
  const Vec factor = Vec::all(0.999F), term = Vec::all(0.5F);
  for (int64_t round = 0; round < rounds; ++round)
    for (int i = 0; i < kPeakChains; ++i) sums[i] = fma(sums[i], factor, term);
  Vec sum = Vec::zero();
  for (const Vec& s : sums) sum = sum + s;
  float lanes[Vec::kWidth];
  sum.store(lanes);
  return lanes[0];
}
constexpr double kPeakRound = 2.0 * kPeakChains * Vec::kWidth;

}  // namespace
}  // namespace vitrail
