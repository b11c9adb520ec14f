// SPDX-License-Identifier: Apache-2.0
#include "plan/arena.h"

#include <gtest/gtest.h>

#include <random>

#include "base/error.h"

namespace vitrail {
namespace {

void check_sound(const std::vector<ArenaRequest>& requests, const ArenaLayout& layout) {
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(layout.offsets[i] % 64, 0);
    EXPECT_LE(layout.offsets[i] + requests[i].bytes, layout.bytes);
    for (size_t j = 0; j < i; ++j) {
      const ArenaRequest &a = requests[i], &b = requests[j];
      if (a.last < b.first || b.last < a.first || a.bytes == 0 || b.bytes == 0) continue;
      EXPECT_TRUE(layout.offsets[i] + a.bytes <= layout.offsets[j] ||
                  layout.offsets[j] + b.bytes <= layout.offsets[i])
          << i << " and " << j;
    }
  }
}

TEST(Arena, AChainNeedsTwoNeighbours) {
  std::vector<ArenaRequest> chain;
  for (int i = 0; i < 10; ++i) chain.push_back({1000, i, i + 1});
  const ArenaLayout layout = pack_arena(chain);
  check_sound(chain, layout);
  EXPECT_EQ(layout.bytes, 2 * 1024);
  EXPECT_EQ(layout.live_peak, 2 * 1024);
}

TEST(Arena, TheSmallestGapIsTaken) {
  // Between the two long-lived ones there is a gap of 128 bytes, and one of 256 above them.
  const std::vector<ArenaRequest> requests = {{640, 0, 9}, {128, 0, 1}, {512, 0, 9},
                                              {256, 0, 1}, {192, 0, 9}, {64, 3, 4}};
  const ArenaLayout layout = pack_arena(requests);
  check_sound(requests, layout);
}

TEST(Arena, RandomLivesStayApartAndNearThePeak) {
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    std::vector<ArenaRequest> requests;
    for (int i = 0; i < 120; ++i) {
      const int first = static_cast<int>(random() % 100);
      requests.push_back({static_cast<int64_t>(random() % 5 ? random() % 100000 : 0), first,
                          first + static_cast<int>(random() % 6)});
    }
    const ArenaLayout layout = pack_arena(requests);
    check_sound(requests, layout);
    EXPECT_GE(layout.bytes, layout.live_peak);
    EXPECT_LE(static_cast<double>(layout.bytes), 1.5 * static_cast<double>(layout.live_peak));
  }
}

TEST(Arena, BadRequestsAreRefused) {
  EXPECT_THROW(pack_arena(std::vector<ArenaRequest>{{-1, 0, 0}}), Error);
  EXPECT_THROW(pack_arena(std::vector<ArenaRequest>{{1, 1, 0}}), Error);
  EXPECT_THROW(pack_arena(std::vector<ArenaRequest>{{INT64_MAX, 0, 0}}), Error);
  EXPECT_THROW(pack_arena(std::vector<ArenaRequest>{{INT64_MAX / 2, 0, 0}, {INT64_MAX / 2, 0, 0}}),
               Error);
  EXPECT_EQ(pack_arena({}).bytes, 0);
}

}  // namespace
}  // namespace vitrail
