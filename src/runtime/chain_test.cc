// SPDX-License-Identifier: Apache-2.0
#include "runtime/chain.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <numeric>

#include "runtime/trace.h"

namespace vitrail {
namespace {

// A device that is no device: steps of 1 to 7 microseconds, stamps that cost 1.5, a clock that
// drifts by 20 % over the measurement and an interruption now and then.
struct Device {
  std::vector<double> costs;
  int measured = 0, alive = 0, most = 0;
  size_t farthest = 0;

  std::function<double()> prepare(size_t from, size_t to) {
    most = std::max(most, ++alive);
    farthest = std::max(farthest, to - from);
    const std::shared_ptr<void> life(nullptr, [this](void*) { --alive; });
    return [this, life, from, to] {
      ++measured;
      const double sum = std::accumulate(costs.begin() + static_cast<ptrdiff_t>(from),
                                         costs.begin() + static_cast<ptrdiff_t>(to), 0.0);
      const double drift = 1 + 0.2 * measured / 1000.0;
      return (1.5 + sum) * drift + (measured % 37 == 0 ? 100 : 0);
    };
  }
};

class Chain : public testing::TestWithParam<size_t> {};

TEST_P(Chain, DifferencesGiveEachStepsTime) {
  Device device;
  for (size_t i = 0; i < GetParam(); ++i) device.costs.push_back(static_cast<double>(1 + i % 7));
  constexpr int kRounds = 9;
  const auto times = measure_chain(device.costs.size(), kRounds, [&](size_t from, size_t to) {
    return device.prepare(from, to);
  });
  ASSERT_EQ(times.size(), device.costs.size());
  const double drift = 1 + 0.2 * device.measured / 1000.0;
  for (size_t i = 0; i < times.size(); ++i) {
    ASSERT_EQ(times[i].size(), static_cast<size_t>(kRounds));
    const double median = spread_of(times[i]).median;
    EXPECT_GE(median, device.costs[i]) << i;
    // Drift between two measurements in a row: 0.02 % of at most 24 steps of 7.
    EXPECT_LE(median, device.costs[i] * drift + 0.05) << i;
  }
  EXPECT_LE(device.most, 17);
  EXPECT_EQ(device.alive, 0);
  EXPECT_LE(device.farthest, 24U);
}
INSTANTIATE_TEST_SUITE_P(Lengths, Chain, testing::Values(1, 8, 16, 17, 40));

TEST(Chain, NoStepsNoTimes) {
  EXPECT_TRUE(measure_chain(0, 3, [](size_t, size_t) { return [] { return 0.0; }; }).empty());
}

}  // namespace
}  // namespace vitrail
