// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
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
      ::syscall(SYS_futex, reinterpret_cast<uint32_t*>(&value), FUTEX_WAIT_PRIVATE, seen, nullptr,
                nullptr, 0);
    sleepers.fetch_sub(1, std::memory_order_relaxed);
  }
  void wake() {
    if (sleepers.load(std::memory_order_seq_cst) != 0)
      ::syscall(SYS_futex, reinterpret_cast<uint32_t*>(&value), FUTEX_WAKE_PRIVATE, INT32_MAX,
                nullptr, nullptr, 0);
  }
  void bump() {
    value.fetch_add(1, std::memory_order_seq_cst);
    wake();
  }
  // Never lowers: whoever begins a phase may be overtaken by those who end it.
  void raise(uint32_t to) {
    uint32_t now = value.load(std::memory_order_relaxed);
    while (now < to && !value.compare_exchange_weak(now, to, std::memory_order_seq_cst,
                                                    std::memory_order_relaxed)) {
    }
    wake();
  }
};

// What a worker is asked to join: job `generation` of team `team`, as worker `index`.
struct Invitation {
  uint32_t generation = 0;
  uint16_t team = 0, index = 0;
};

// One thread of the pool; never destroyed, because a late glance at it must stay valid.
struct alignas(64) Worker {
  Signal signal;  // bumped with each invitation
  std::atomic<Invitation> invitation{Invitation{}};
};
static_assert(std::atomic<Invitation>::is_always_lock_free);

// A worker's share of the current phase: the next task in the low half, the end in the high one. On
// its own cache line, because its owner takes from it all the time. Takers may push `next` beyond
// the end, by less than kMaxTasks, so that it never runs into the other half.
struct alignas(64) Share {
  std::atomic<uint64_t> range{0};
};
constexpr int64_t kMaxTasks = int64_t{1} << 30;
constexpr uint64_t kOpen = 0x8000, kCount = 0x7FFF;
}  // namespace

// A job is finished when its tasks are, not when every worker has been there: one that the system
// has no processor for at the moment finds the job closed when it comes, and nobody has waited.
struct Team {
  // The job: written while it is closed and nobody is in it.
  void (*call)(void*, int64_t, int) = nullptr;
  void* context = nullptr;
  std::vector<int64_t> phase_ends;
  int workers = 1;
  bool spin = true;
  std::vector<Worker*> members;  // workers 1, 2, ...
  std::vector<Share> shares;
  std::exception_ptr error;
  std::atomic<bool> failed{false};
  uint16_t id = 0;
  uint32_t generation = 0;
  /// generation << 16 | open flag | workers inside (without the leader)
  alignas(64) std::atomic<uint64_t> state{0};
  alignas(64) std::atomic<int64_t> done{0};  // tasks ended
  alignas(64) Signal phase;  // the current one; phase_ends.size(): all tasks have ended
  alignas(64) Signal left;   // bumped by workers that leave a closed job

  bool join(uint32_t wanted) {
    uint64_t now = state.load(std::memory_order_relaxed);
    do {
      if (static_cast<uint32_t>(now >> 16) != wanted || !(now & kOpen)) return false;
    } while (!state.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel,
                                          std::memory_order_relaxed));
    return true;
  }
  void leave() {
    // The leader looks at the count after closing; before that it need not be told.
    if (!(state.fetch_sub(1, std::memory_order_acq_rel) & kOpen)) left.bump();
  }
  void share_out(int64_t begin, int64_t end) {
    const int64_t count = end - begin;
    for (int w = 0; w < workers; ++w) {
      const auto first = static_cast<uint64_t>(begin + count * w / workers);
      const auto last = static_cast<uint64_t>(begin + count * (w + 1) / workers);
      shares[w].range.store(last << 32 | first, std::memory_order_release);
    }
  }
  // Runs what is left of a share; the number of tasks run.
  int64_t take(int from, int worker) {
    std::atomic<uint64_t>& range = shares[from].range;
    const auto next = [](uint64_t r) { return static_cast<int64_t>(r & 0xFFFFFFFF); };
    const auto end = [](uint64_t r) { return static_cast<int64_t>(r >> 32); };
    int64_t ran = 0;
    for (uint64_t seen = range.load(std::memory_order_relaxed); next(seen) < end(seen);) {
      // Tiny tasks are taken several at a time; the last ones of a share one by one.
      const int64_t chunk = std::max<int64_t>(1, (end(seen) - next(seen)) / 32);
      seen = range.fetch_add(static_cast<uint64_t>(chunk), std::memory_order_acq_rel);
      const int64_t last = std::min(next(seen) + chunk, end(seen));
      for (int64_t task = next(seen); task < last; ++task, ++ran) {
        if (failed.load(std::memory_order_relaxed)) continue;
        try {
          call(context, task, worker);
        } catch (...) {
          if (!failed.exchange(true)) error = std::current_exception();
        }
      }
      seen += static_cast<uint64_t>(chunk);
    }
    return ran;
  }
  void work(int worker) {
    const auto phases = static_cast<uint32_t>(phase_ends.size());
    for (uint32_t now; (now = phase.value.load(std::memory_order_acquire)) < phases;) {
      // All tasks run here are of one phase: the next does not begin before these are counted.
      int64_t ran = 0;
      for (int i = 0; i < workers; ++i) ran += take((worker + i) % workers, worker);
      if (ran > 0) {
        const int64_t total = done.fetch_add(ran, std::memory_order_acq_rel) + ran;
        // `now` may lag behind: shares are handed out a moment before the phase is announced.
        const auto ended = std::lower_bound(phase_ends.begin(), phase_ends.end(), total);
        if (*ended == total) {
          begin_phase(static_cast<uint32_t>(ended - phase_ends.begin()) + 1);
          continue;
        }
      }
      if (now + 1 == phases && worker != 0) return;
      phase.wait_while(now, spin);
    }
  }
  // By whoever ended the last task of the phase before.
  void begin_phase(uint32_t next) {
    const int64_t begin = next == 0 ? 0 : phase_ends[next - 1];
    while (next < phase_ends.size() && phase_ends[next] == begin) ++next;  // empty ones
    if (next < phase_ends.size()) share_out(begin, phase_ends[next]);
    phase.raise(next);
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
    while (static_cast<int>(idle_.size()) < wanted && start_thread()) {
    }
    const int count = std::min(wanted, static_cast<int>(idle_.size()));
    if (count == 0) return nullptr;
    if (teams_.empty()) {
      // At most one team for each helper.
      teams_.push_back(new Team);
      teams_.back()->id = team_count_;
      table_[team_count_++] = teams_.back();
    }
    Team* team = teams_.back();
    teams_.pop_back();
    if (static_cast<int>(team->shares.size()) < count + 1)
      team->shares = std::vector<Share>(count + 1);
    for (int i = 0; i < count; ++i) {
      // Last in, first out: these are the ones still spinning.
      team->members.push_back(idle_.back());
      idle_.pop_back();
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
        log_warning("cannot start thread {} ({}); going on with fewer", threads() + 2,
                    refused.what());
        warned_ = true;
      }
      return false;
    }
  }
  void serve(Worker& worker) {
    for (uint32_t seen = 0;;) {
      worker.signal.wait_while(seen, !crowded());
      seen = worker.signal.value.load(std::memory_order_acquire);
      const Invitation to = worker.invitation.load(std::memory_order_relaxed);
      Team& team = *table_[to.team].load(std::memory_order_acquire);
      if (!team.join(to.generation)) continue;
      team.work(to.index);
      team.leave();
    }
  }

  std::mutex mutex_;
  std::vector<Worker*> idle_;
  std::vector<Team*> teams_;  // without members
  std::array<std::atomic<Team*>, kMaxThreads> table_{};
  uint16_t team_count_ = 0;
  std::atomic<int> leased_{0}, threads_{0};
  const int cores_;
  bool warned_ = false;
};

std::atomic<bool> started_threads{false}, orphaned{false};

void watch_forks() {
  static std::once_flag once;
  std::call_once(
      once, [] { ::pthread_atfork(nullptr, nullptr, [] { orphaned = started_threads.load(); }); });
}
}  // namespace

int pool_threads() { return started_threads ? Pool::get().threads() : 0; }

Lease::Lease(int workers) {
  require(1 <= workers && workers <= kMaxThreads, Code::usage, "{} threads: expected 1 to {}",
          workers, kMaxThreads);
  if (workers == 1) return;
  require(!orphaned, Code::resource,
          "this process was forked from one that had already run with several threads, and they do "
          "not exist here: "
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
  require(tasks < kMaxTasks, Code::unsupported, "{} tasks at once, at most {} are possible", tasks,
          kMaxTasks);
  Team& team = *team_;
  team.call = call;
  team.context = context;
  if (phase_ends.empty())
    team.phase_ends.assign(1, tasks);
  else
    team.phase_ends.assign(phase_ends.begin(), phase_ends.end());
  team.spin = !Pool::get().crowded();
  team.done.store(0, std::memory_order_relaxed);
  team.phase.value.store(0, std::memory_order_relaxed);
  ++team.generation;
  team.begin_phase(0);
  team.state.store(static_cast<uint64_t>(team.generation) << 16 | kOpen, std::memory_order_release);
  for (size_t i = 0; i < team.members.size(); ++i) {
    team.members[i]->invitation.store({team.generation, team.id, static_cast<uint16_t>(i + 1)},
                                      std::memory_order_relaxed);
    team.members[i]->signal.bump();
  }
  team.work(0);
  team.state.fetch_and(~kOpen, std::memory_order_acq_rel);
  for (;;) {
    const uint32_t seen = team.left.value.load(std::memory_order_acquire);
    if ((team.state.load(std::memory_order_acquire) & kCount) == 0) break;
    team.left.wait_while(seen, team.spin);
  }
  if (team.failed) {
    team.failed = false;
    std::rethrow_exception(std::exchange(team.error, nullptr));
  }
}

}  // namespace vitrail::cpu
