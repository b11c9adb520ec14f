// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <functional>
#include <vector>

namespace vitrail {

/// What each step of a chain of overlapping launches adds to it, by step and round. A chain that is
/// stamped before step `from` and before step `to` takes `prepare(from, to)()` microseconds between
/// the stamps; it is measured again for each round. A step's time is the difference of two chains
/// that share the first stamp and differ in the second by that step, measured one after the other.
/// The first stamp lies some steps ahead, so that what it breaks up has settled, and no farther:
/// all that jitters between the stamps is in the difference. What `prepare` returns lives until its
/// steps are done, some sixteen at a time.
std::vector<std::vector<double>> measure_chain(
    size_t steps, int rounds,
    const std::function<std::function<double()>(size_t from, size_t to)>& prepare);

}  // namespace vitrail
