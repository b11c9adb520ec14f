// SPDX-License-Identifier: Apache-2.0
#include "plan/arena.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/error.h"
#include "base/expr.h"

namespace vitrail {
namespace {
constexpr int64_t kAlign = 64;

int64_t padded(int64_t bytes) { return checked_add(bytes, kAlign - 1) / kAlign * kAlign; }

int64_t peak_of_lives(std::span<const ArenaRequest> requests) {
  std::map<int64_t, int64_t> change;  // by step
  for (const ArenaRequest& r : requests) {
    change[r.first] += padded(r.bytes);
    change[int64_t{r.last} + 1] -= padded(r.bytes);
  }
  int64_t now = 0, peak = 0;
  for (const auto& [step, delta] : change) peak = std::max(peak, now += delta);
  return peak;
}
}  // namespace

ArenaLayout pack_arena(std::span<const ArenaRequest> requests) {
  ArenaLayout out;
  out.offsets.assign(requests.size(), 0);
  int64_t sum = 0;
  for (const ArenaRequest& r : requests) {
    require(r.bytes >= 0 && r.first <= r.last, Code::bad_input,
            "an arena buffer of {} bytes for steps {} to {}", r.bytes, r.first, r.last);
    sum = checked_add(sum, padded(r.bytes));
  }
  std::vector<size_t> order(requests.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return requests[a].bytes > requests[b].bytes; });

  std::vector<size_t> placed;  // by offset
  for (const size_t index : order) {
    const ArenaRequest& want = requests[index];
    const int64_t bytes = padded(want.bytes);
    if (bytes == 0) continue;
    int64_t best = -1, best_gap = INT64_MAX, end = 0;
    for (const size_t other : placed) {
      const ArenaRequest& r = requests[other];
      if (r.last < want.first || want.last < r.first) continue;
      const int64_t gap = out.offsets[other] - end;
      if (gap >= bytes && gap < best_gap) {
        best = end;
        best_gap = gap;
      }
      end = std::max(end, out.offsets[other] + padded(r.bytes));
    }
    out.offsets[index] = best >= 0 ? best : end;
    out.bytes = std::max(out.bytes, out.offsets[index] + bytes);
    const auto by_offset = [&](size_t a, size_t b) { return out.offsets[a] < out.offsets[b]; };
    placed.insert(std::upper_bound(placed.begin(), placed.end(), index, by_offset), index);
  }
  out.live_peak = peak_of_lives(requests);
  return out;
}

}  // namespace vitrail
