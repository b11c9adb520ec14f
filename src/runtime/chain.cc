// SPDX-License-Identifier: Apache-2.0
#include "runtime/chain.h"

#include <algorithm>

namespace vitrail {

std::vector<std::vector<double>> measure_chain(
    size_t steps, int rounds,
    const std::function<std::function<double()>(size_t from, size_t to)>& prepare) {
  constexpr size_t kTogether = 16, kLead = 8;
  std::vector<std::vector<double>> out(steps);
  for (size_t first = 0; first < steps; first += kTogether) {
    const size_t last = std::min(steps, first + kTogether);
    std::vector<std::function<double()>> chains;
    for (size_t to = first; to <= last; ++to)
      chains.push_back(prepare(first - std::min(first, kLead), to));
    for (int round = 0; round < rounds; ++round) {
      double before = chains[0]();
      for (size_t i = first; i < last; ++i) {
        const double now = chains[i - first + 1]();
        out[i].push_back(now - before);
        before = now;
      }
    }
  }
  return out;
}

}  // namespace vitrail
