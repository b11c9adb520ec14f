// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/machine.h"

namespace vitrail::cpu {
namespace {
constexpr auto kSpin = std::chrono::microseconds(40);

inline void pause() { __builtin_ia32_pause(); }

// A word that one side changes and the others wait on. std::atomic::wait would do, but its waiter
// table is shared by unrelated objects and its spin is not ours to set.
struct Signal {
  std::atomic<uint32_t> value{0};
  std::atomic<uint32_t> sleepers{0};

  // Returns once value differs from `seen`. Sequential consistency orders "announce the sleeper,
  // look again" against "change the value, look for sleepers": one of the two sees the other.
  void wait_while(uint32_t seen, bool spin) {
    if (spin) {
      const auto give_up = std::chrono::steady_clock::now() + kSpin;
      do {
        for (int i = 0; i < 16; ++i) {
          if (value.load(std::memory_order_acquire) != seen) return;
          pause();
        }
      } while (std::chrono::steady_clock::now() < give_up);
    }
    sleepers.fetch_add(1, std::memory_order_seq_cst);
    while (value.load(std::memory_order_seq_cst) == seen)
      ::syscall(SYS_futex, reinterpret_cast<uint32_t*>(&value), FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
    sleepers.fetch_sub(1, std::memory_order_relaxed);
  }
  void wake() {
    if (sleepers.load(std::memory_order_seq_cst) != 0)
      ::syscall(SYS_futex, reinterpret_cast<uint32_t*>(&value), FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
  }
  void bump() {
    value.fetch_add(1, std::memory_order_seq_cst);
    wake();
  }
};

// One thread of the pool; never destroyed, because a late glance at `signal` must stay valid.
struct alignas(64) Worker {
  Signal signal;  // bumped once for each job
  Team* team = nullptr;
  int index = 0;
};

// A worker's share of the current phase. On its own cache line: its owner takes from it all the time.
struct alignas(64) Share {
  std::atomic<int64_t> next{0};
  int64_t end = 0;
};
}  // namespace

struct Team {
  // The job, written by the leader before the workers are signalled.
  void (*call)(void*, int64_t, int) = nullptr;
  void* context = nullptr;
  std::span<const int64_t> phase_ends;
  int workers = 1;
  bool spin = true;
  std::vector<Worker*> members;  // workers 1, 2, ...
  std::vector<Share> shares;
  std::exception_ptr error;
  std::atomic<bool> failed{false};
  alignas(64) std::atomic<int> arrived{0};  // workers waiting for the next phase
  alignas(64) Signal phase;
  alignas(64) Signal ended;  // counts down to 0

  void share_out(int64_t begin, int64_t end) {
    const int64_t count = end - begin;
    for (int w = 0; w < workers; ++w) {
      shares[w].end = begin + count * (w + 1) / workers;
      shares[w].next.store(begin + count * w / workers, std::memory_order_relaxed);
    }
  }
  void take(int from, int worker) {
    Share& share = shares[from];
    // Tiny tasks are taken several at a time; the last ones of a share one by one.
    for (;;) {
      const int64_t left = share.end - share.next.load(std::memory_order_relaxed);
      if (left <= 0) return;
      const int64_t chunk = std::max<int64_t>(1, left / 32);
      const int64_t begin = share.next.fetch_add(chunk, std::memory_order_relaxed);
      for (int64_t task = begin; task < std::min(begin + chunk, share.end); ++task) {
        if (failed.load(std::memory_order_relaxed)) continue;
        try {
          call(context, task, worker);
        } catch (...) {
          if (!failed.exchange(true)) error = std::current_exception();
        }
      }
    }
  }
  void work(int worker) {
    for (size_t p = 0; p < phase_ends.size(); ++p) {
      for (int i = 0; i < workers; ++i) take((worker + i) % workers, worker);
      if (p + 1 < phase_ends.size()) meet(phase_ends[p], phase_ends[p + 1]);
    }
  }
  // Sense-reversing barrier: the last to arrive hands out the next phase and turns the sense.
  void meet(int64_t begin, int64_t end) {
    const uint32_t seen = phase.value.load(std::memory_order_relaxed);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 < workers) return phase.wait_while(seen, spin);
    arrived.store(0, std::memory_order_relaxed);
    share_out(begin, end);
    phase.bump();
  }
};

namespace {
class Pool {
 public:
  static Pool& get() {
    static Pool* const pool = new Pool;  // outlives every thread, so never destroyed
    return *pool;
  }

  // Up to `wanted` helpers for a new team; null when there is not one to be had.
  Team* lease(int wanted) {
    const std::lock_guard lock(mutex_);
    while (static_cast<int>(idle_.size()) < wanted && start_thread()) {}
    const int count = std::min(wanted, static_cast<int>(idle_.size()));
    if (count == 0) return nullptr;
    if (teams_.empty()) teams_.push_back(new Team);
    Team* team = teams_.back();
    teams_.pop_back();
    if (static_cast<int>(team->shares.size()) < count + 1) team->shares = std::vector<Share>(count + 1);
    for (int i = 0; i < count; ++i) {
      // Last in, first out: these are the ones still spinning.
      Worker* worker = idle_.back();
      idle_.pop_back();
      worker->team = team;
      worker->index = i + 1;
      team->members.push_back(worker);
    }
    team->workers = count + 1;
    leased_.fetch_add(team->workers, std::memory_order_relaxed);
    return team;
  }
  void give_back(Team* team) {
    const std::lock_guard lock(mutex_);
    leased_.fetch_sub(team->workers, std::memory_order_relaxed);
    while (!team->members.empty()) {
      idle_.push_back(team->members.back());
      team->members.pop_back();
    }
    teams_.push_back(team);
  }
  bool crowded() const { return leased_.load(std::memory_order_relaxed) > cores_; }
  int threads() const { return threads_.load(std::memory_order_relaxed); }

 private:
  Pool() : cores_(this_machine().cores) { idle_.reserve(kMaxThreads); }

  bool start_thread() {
    if (threads() >= kMaxThreads) return false;
    try {
      auto worker = std::make_unique<Worker>();
      std::thread([this, w = worker.get()] { serve(*w); }).detach();
      idle_.push_back(worker.release());
      threads_.fetch_add(1, std::memory_order_relaxed);
      return true;
    } catch (const std::system_error& refused) {
      if (!warned_) {
        log_warning("cannot start thread {} ({}); going on with fewer", threads() + 2, refused.what());
        warned_ = true;
      }
      return false;
    }
  }
  void serve(Worker& worker) {
    for (uint32_t seen = 0;; ++seen) {  // the leader waits for each job's end before the next
      worker.signal.wait_while(seen, !crowded());
      Team& team = *worker.team;
      team.work(worker.index);
      if (team.ended.value.fetch_sub(1, std::memory_order_seq_cst) == 1) team.ended.wake();
    }
  }

  std::mutex mutex_;
  std::vector<Worker*> idle_;
  std::vector<Team*> teams_;  // without members
  std::atomic<int> leased_{0}, threads_{0};
  const int cores_;
  bool warned_ = false;
};

std::atomic<bool> started_threads{false}, orphaned{false};

void watch_forks() {
  static std::once_flag once;
  std::call_once(once, [] {
    ::pthread_atfork(nullptr, nullptr, [] { orphaned = started_threads.load(); });
  });
}
}  // namespace

int pool_threads() { return started_threads ? Pool::get().threads() : 0; }

Lease::Lease(int workers) {
  require(1 <= workers && workers <= kMaxThreads, Code::usage, "{} threads: expected 1 to {}", workers, kMaxThreads);
  if (workers == 1) return;
  require(!orphaned, Code::resource,
          "this process was forked from one that had already run with several threads, and they do not exist here: "
          "fork before the first run, start a new program instead, or run with threads = 1");
  watch_forks();
  started_threads = true;
  team_ = Pool::get().lease(workers - 1);
  if (team_) workers_ = team_->workers;
}

Lease::~Lease() {
  if (team_ && !orphaned) Pool::get().give_back(team_);
}

void Lease::run(int64_t tasks, std::span<const int64_t> phase_ends, Call call, void* context) {
  if (tasks <= 0) return;
  if (!team_ || tasks == 1) {
    // In order, which respects the phases.
    for (int64_t task = 0; task < tasks; ++task) call(context, task, 0);
    return;
  }
  Team& team = *team_;
  team.call = call;
  team.context = context;
  team.phase_ends = phase_ends.empty() ? std::span<const int64_t>(&tasks, 1) : phase_ends;
  team.spin = !Pool::get().crowded();
  team.share_out(0, team.phase_ends[0]);
  team.ended.value.store(static_cast<uint32_t>(workers_ - 1), std::memory_order_relaxed);
  for (Worker* worker : team.members) worker->signal.bump();
  team.work(0);
  for (uint32_t left; (left = team.ended.value.load(std::memory_order_acquire)) != 0;)
    team.ended.wait_while(left, team.spin);
  if (team.failed) {
    team.failed = false;
    std::rethrow_exception(std::exchange(team.error, nullptr));
  }
}

}  // namespace vitrail::cpu
