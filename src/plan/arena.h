// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace vitrail {

/// Bytes wanted from step `first` to step `last`, both included.
struct ArenaRequest {
  int64_t bytes = 0;
  int first = 0, last = 0;
};

struct ArenaLayout {
  std::vector<int64_t> offsets;  ///< of each request, multiples of 64
  int64_t bytes = 0;             ///< of the whole arena
  int64_t live_peak = 0;         ///< most bytes alive at any one step: no layout is smaller
};

/// Places requests so that two that live at the same step do not overlap: largest first, each into
/// the smallest gap that holds it (Pisarchyk and Lee, "Efficient memory management for deep neural
/// net inference", 2020, greedy by size). Deterministic. Throws Error(bad_input) when a request is
/// negative or last < first, or the sum leaves 64 bits.
ArenaLayout pack_arena(std::span<const ArenaRequest> requests);

}  // namespace vitrail
