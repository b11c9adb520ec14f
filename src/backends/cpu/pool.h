// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

namespace vitrail::cpu {

struct Team;

/// Most threads that one lease or the whole process may have.
constexpr int kMaxThreads = 1024;

/// Workers borrowed from the one pool of the process for as long as the lease lives. The thread
/// that holds the lease is worker 0; a lease of one worker touches no lock and no other thread.
///
/// Workers wait for work by spinning for some tens of microseconds and then sleep, so that a chain
/// of launches pays about a microsecond each and an idle session nothing. When more workers are out
/// on lease than the machine has processors, they sleep at once: a spinning thread would only keep
/// the one it waits for from running.
///
/// A lease is used by one thread at a time. Any number of leases may be alive.
class Lease {
 public:
  /// Fewer workers than asked for when the system refuses threads (RLIMIT_NPROC; warned of once) or
  /// kMaxThreads are out already. Throws Error(usage) for workers < 1 or > kMaxThreads, and
  /// Error(resource) in a child of fork(), where the pool's threads do not exist.
  explicit Lease(int workers);
  ~Lease();
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  int workers() const { return workers_; }

  /// Calls body(task, worker) once for every task 0..tasks-1 and returns when all have ended.
  /// `phase_ends` holds running totals (empty: one phase); tasks of a phase start when all of the
  /// phase before have ended. Each worker begins with its own contiguous share, the same one in
  /// every call with as many tasks (what it wrote is still in its caches), and helps the others
  /// after that. The first exception of a body is thrown here once all workers have stopped.
  template <typename Body>
  void parallel(int64_t tasks, std::span<const int64_t> phase_ends, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run(
        tasks, phase_ends,
        [](void* context, int64_t task, int worker) {
          (*static_cast<Plain*>(context))(task, worker);
        },
        const_cast<std::remove_const_t<Plain>*>(&body));
  }
  template <typename Body>
  void parallel(int64_t tasks, Body&& body) {
    parallel(tasks, {}, body);
  }

 private:
  using Call = void (*)(void* context, int64_t task, int worker);
  void run(int64_t tasks, std::span<const int64_t> phase_ends, Call call, void* context);
  int workers_ = 1;
  Team* team_ = nullptr;  // null: the caller alone
};

/// Threads the pool has started so far.
int pool_threads();

}  // namespace vitrail::cpu
