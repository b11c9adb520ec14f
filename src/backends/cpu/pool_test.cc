// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "backends/cpu/memory.h"
#include "base/error.h"
#include "base/log.h"

namespace vitrail::cpu {
namespace {

TEST(Pool, EveryTaskRunsOnce) {
  for (const int workers : {1, 2, 3, 8}) {
    Lease lease(workers);
    EXPECT_EQ(lease.workers(), workers);
    for (const int64_t tasks : {0, 1, 2, 7, 64, 10001}) {
      std::vector<std::atomic<int>> runs(tasks);
      std::atomic<bool> in_range{true};
      lease.parallel(tasks, [&](int64_t task, int worker) {
        runs[task].fetch_add(1);
        if (worker < 0 || worker >= workers) in_range = false;
      });
      EXPECT_TRUE(in_range);
      for (const auto& r : runs) ASSERT_EQ(r, 1);
    }
  }
}

TEST(Pool, PhasesAreOrdered) {
  Lease lease(4);
  for (int round = 0; round < 200; ++round) {
    const std::vector<int64_t> ends = {5, 5, 105, 106};  // the second phase is empty
    std::vector<int> order(106, -1);
    std::atomic<int> clock{0}, early{0};
    lease.parallel(106, ends, [&](int64_t task, int) {
      const int phase = task < 5 ? 0 : task < 105 ? 2 : 3;
      if (clock.load() < (phase == 0 ? 0 : phase == 2 ? 5 : 105)) early.fetch_add(1);
      order[task] = phase;  // not atomic: TSan sees it if the barrier does not order phases
      for (int i = 0; phase == 3 && i < 105; ++i) EXPECT_GE(order[i], 0);
      clock.fetch_add(1);
    });
    EXPECT_EQ(early, 0);
    EXPECT_EQ(clock, 106);
  }
}

// Phases of one task or two, so that beginnings and ends race.
TEST(Pool, ShortPhasesDoNotGetLost) {
  Lease lease(3);
  std::vector<int64_t> ends;
  for (int64_t p = 1; p <= 40; ++p) ends.push_back(ends.empty() ? 1 : ends.back() + p % 3);
  for (int round = 0; round < 500; ++round) {
    std::vector<int64_t> order(static_cast<size_t>(ends.back()));
    std::atomic<int64_t> clock{0};
    lease.parallel(ends.back(), ends, [&](int64_t task, int) {
      order[static_cast<size_t>(task)] = clock.fetch_add(1);
    });
    int64_t begin = 0;
    for (const int64_t end : ends) {
      for (int64_t t = begin; t < end; ++t) EXPECT_TRUE(begin <= order[t] && order[t] < end) << t;
      begin = end;
    }
  }
}

TEST(Pool, ABodysExceptionArrives) {
  for (const int workers : {1, 3}) {
    Lease lease(workers);
    EXPECT_THROW(lease.parallel(100,
                                [](int64_t task, int) {
                                  if (task == 50) throw std::runtime_error("task 50");
                                }),
                 std::runtime_error);
    std::atomic<int> runs{0};
    lease.parallel(100, [&](int64_t, int) { runs.fetch_add(1); });
    EXPECT_EQ(runs, 100);  // the lease goes on
  }
}

TEST(Pool, ManyLeasesFromManyThreads) {
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t)
    threads.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        Lease lease(3);
        for (int i = 0; i < 5; ++i)
          lease.parallel(16, [&](int64_t task, int) { sum.fetch_add(task); });
      }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(sum, 6 * 50 * 5 * 120);
  EXPECT_LE(pool_threads(), 12 + 8);  // given back and used again
}

TEST(Pool, CountsAreChecked) {
  EXPECT_THROW(Lease(0), Error);
  EXPECT_THROW(Lease(-1), Error);
  EXPECT_THROW(Lease(1'000'000), Error);
}

// Runs `body` in a child; true when it returned true.
template <typename Body>
bool in_child(Body body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body() ? 0 : 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(Pool, AForkedChildIsToldClearly) {
  { Lease lease(2); }
  EXPECT_TRUE(in_child([] {
    try {
      Lease lease(2);
    } catch (const Error& error) {
      return error.code == Code::resource &&
             std::string(error.what()).find("forked") != std::string::npos;
    }
    return false;
  }));
  EXPECT_TRUE(in_child([] { return Lease(1).workers() == 1; }));
}

#if !defined(__SANITIZE_THREAD__)
TEST(Pool, RefusedThreadsAreDoneWithout) {
  // The limit does not bind root: become an ordinary user for the test. Root stays the saved user,
  // so that what the test program writes at its end still lands in root's folders.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NPROC, &before), 0);
  const bool root = ::geteuid() == 0;
  if (root && ::setresuid(65534, 65534, 0) != 0) GTEST_SKIP() << "cannot become an ordinary user";
  struct Restore {
    bool root;
    rlimit before;
    ~Restore() {
      if (root) {
        EXPECT_EQ(::setresuid(0, 0, 0), 0);
      }
      EXPECT_EQ(::setrlimit(RLIMIT_NPROC, &before), 0);
    }
  } restore{root, before};
  const rlimit none{1, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NPROC, &none), 0);
  int warnings = 0;
  set_log_sink([&](LogLevel, std::string_view) { ++warnings; });
  const int had = pool_threads();
  Lease lease(had + 4);
  set_log_sink({});
  EXPECT_EQ(lease.workers(), had + 1);
  EXPECT_EQ(warnings, 1);
  std::atomic<int> runs{0};
  lease.parallel(10, [&](int64_t, int) { runs.fetch_add(1); });
  EXPECT_EQ(runs, 10);
}
#endif

TEST(Memory, GrowsAndRefuses) {
  Memory memory;
  memory.reserve(100, "a test");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.data()) % 64, 0u);
  memory.data()[99] = std::byte{1};
  memory.reserve(5 << 20, "a test");
  EXPECT_EQ(memory.data()[99], std::byte{0});
  EXPECT_THROW(memory.reserve(SIZE_MAX - 5, "a test"), Error);
  EXPECT_THROW(memory.reserve(size_t{1} << 60, "a test"), Error);
}

}  // namespace
}  // namespace vitrail::cpu
