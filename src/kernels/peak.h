// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "base/machine.h"

namespace vitrail {

/// `rounds` times kPeakFlop(isa) FLOP of float32 multiply-adds in independent chains, no memory:
/// the most that a core of that level can do. Returns a number that depends on all of them.
float peak_multiply_adds(Isa isa, int64_t rounds);
/// FLOP of one round.
double peak_flop(Isa isa);

}  // namespace vitrail
