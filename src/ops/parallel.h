// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "base/machine.h"

// Threads of references: they come and go with each call, so that the library needs no pool.
namespace vitrail {

inline thread_local bool in_parallel = false;

/// action(i) for 0 <= i < count, in any order, on all processors. Nested calls run in place. The
/// first exception is thrown again here.
template <typename Action>
void parallel_for(int64_t count, const Action& action) {
  const int64_t workers = in_parallel ? 1 : std::min<int64_t>({count, this_machine().cores, 16});
  if (workers <= 1) {
    for (int64_t i = 0; i < count; ++i) action(i);
    return;
  }
  std::atomic<int64_t> next{0};
  std::exception_ptr error;
  std::mutex mutex;
  const auto work = [&] {
    in_parallel = true;
    try {
      for (int64_t i; (i = next.fetch_add(1)) < count;) action(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
      next = count;
    }
    in_parallel = false;
  };
  std::vector<std::thread> threads;
  try {
    for (int64_t t = 1; t < workers; ++t) threads.emplace_back(work);
  } catch (const std::system_error&) {
    // No more threads to be had: those that run do the work.
  }
  work();
  for (std::thread& t : threads) t.join();
  if (error) std::rethrow_exception(error);
}

/// action(begin, end) over pieces of 0..count; in one piece when threads would not pay.
template <typename Action>
void parallel_ranges(int64_t count, const Action& action) {
  constexpr int64_t kPiece = int64_t{1} << 18;
  if (count < 4 * kPiece) return action(int64_t{0}, count);
  parallel_for((count + kPiece - 1) / kPiece,
               [&](int64_t i) { action(i * kPiece, std::min(count, (i + 1) * kPiece)); });
}

}  // namespace vitrail
