// SPDX-License-Identifier: Apache-2.0
// Every GPU kernel on its family's samples against the family's reference, on a GPU: in float32,
// float16 and bfloat16, unaligned and aligned, inside poisoned memory, alone and behind a launch
// that is slow to write. Rows that call a library run so too, where the machine has
// it, and recorded into a graph. Prints a line a kernel; ends with 1 when one fails.
//
//   vitrail_gpu_conformance [part of a kernel's name [part of a tactic]]
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "base/error.h"
#include "tests/gpu/device_trial.h"
#include "tests/gpu/limits.h"

namespace vitrail {
namespace {

// What is run: kernels and tactics with these parts in their text.
struct Choice {
  std::string kernel, tactic;
  uint64_t seed = 11;
};

// All tactics would be thousands of compilations: the first and one more, or four more
// where a part is asked for.
std::vector<Tactic> chosen(std::vector<Tactic> tactics, const std::string& part,
                           std::mt19937_64& random) {
  std::erase_if(tactics,
                [&](const Tactic& t) { return to_string(t).find(part) == std::string::npos; });
  const size_t most = part.empty() ? 2 : 5;
  if (tactics.size() > most) {
    std::shuffle(tactics.begin() + 1, tactics.end(), random);
    tactics.resize(most);
  }
  return tactics;
}

// Every chosen kernel on every sample that it takes.
std::vector<DeviceCase> all_cases(const GpuMachine& machine, const Choice& choice) {
  std::vector<DeviceCase> out;
  std::mt19937_64 random(choice.seed);
  for (const GpuKernel* kernel : all_gpu_kernels()) {
    if (std::string_view(kernel->name).find(choice.kernel) == std::string_view::npos) continue;
    int without = 0;
    for (const Problem& sample : find_family(kernel->family)->samples())
      for (const DType type : {DType::f32, DType::f16, DType::bf16})
        for (const Memory memory : {Memory::plain, Memory::aligned, Memory::spare}) {
          if (memory == Memory::spare && size_of(type) != 2) continue;
          const Problem problem = in_storage(sample, type, memory);
          if (!kernel->accepts(problem, machine).empty()) continue;
          const Bindings symbols = random_bindings(problem, random);
          const std::vector<Tactic> tactics =
              kernel->tactics(vitrail::bind(problem, symbols), machine);
          without += tactics.empty();  // a library that has nothing for these extents
          for (const Tactic& tactic : chosen(tactics, choice.tactic, random))
            out.push_back({.kernel = kernel,
                           .problem = problem,
                           .symbols = symbols,
                           .tactic = tactic,
                           .seed = random()});
        }
    if (without > 0) fmt::print("{:28} {:5} samples without an algorithm\n", kernel->name, without);
  }
  return out;
}

// Prepares cases in as many threads as there are processors, not far ahead of the one that runs.
class Preparation {
 public:
  Preparation(std::vector<DeviceCase>& cases, const GpuMachine& machine)
      : cases_(cases), machine_(machine), ready_(cases.size()) {
    for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t)
      threads_.emplace_back([this] { work(); });
  }
  ~Preparation() {
    {
      const std::lock_guard lock(mutex_);
      done_ = next_ = cases_.size();
    }
    changed_.notify_all();
    for (std::thread& t : threads_) t.join();
  }
  // The case, prepared; those before it are no longer needed.
  DeviceCase& get(size_t index) {
    std::unique_lock lock(mutex_);
    done_ = index;
    changed_.notify_all();
    changed_.wait(lock, [&] { return ready_[index]; });
    return cases_[index];
  }

 private:
  void work() {
    constexpr size_t kAhead = 200;
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return next_ >= cases_.size() || next_ < done_ + kAhead; });
      if (next_ >= cases_.size()) return;
      const size_t mine = next_++;
      lock.unlock();
      cases_[mine].prepare(machine_);
      lock.lock();
      ready_[mine] = true;
      changed_.notify_all();
    }
  }
  std::vector<DeviceCase>& cases_;
  const GpuMachine& machine_;
  std::vector<bool> ready_;
  size_t next_ = 0, done_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::thread> threads_;
};

void report(const DeviceCase& c, const std::string& why) {
  std::string at;
  for (const auto& [name, value] : c.symbols) at += fmt::format(" {}={}", name, value);
  fmt::print("FAILED {} {{{}}}{}: {}\n  {}\n", c.kernel->name, to_string(c.tactic), at,
             why.substr(0, 600), c.problem.str());
}

int run(const Choice& choice) {
  DeviceTrials trials;
  std::vector<DeviceCase> cases = all_cases(trials.machine(), choice);
  struct Count {
    int passed = 0, failed = 0;
  };
  std::map<std::string, Count> counts;
  int failures = 0;
  Preparation preparation(cases, trials.machine());
  for (size_t i = 0; i < cases.size(); ++i) {
    DeviceCase& c = preparation.get(i);
    const KernelFamily& family = *find_family(c.kernel->family);
    std::string why;
    try {
      why = trials.run(c, [&](const Tensor& got, const Tensor& expected) {
        return compare(got, expected, allowed(family, c.bound, got.dtype()));
      });
    } catch (const Error& e) {
      why = e.what();
    }
    Count& count = counts[c.kernel->name];
    constexpr int kMostShown = 6;
    if (why.empty())
      ++count.passed;
    else if (++failures, ++count.failed <= kMostShown)
      report(c, why);
    c.release();
    if (why.find("lost to this process") != std::string::npos) break;
  }
  for (const auto& [name, count] : counts)
    fmt::print("{:28} {:5} passed {:5} failed\n", name, count.passed, count.failed);
  fmt::print("{} cases on {}, {} failed\n", cases.size(), trials.machine().model, failures);
  return failures ? 1 : 0;
}

}  // namespace
}  // namespace vitrail

int main(int argc, char** argv) {
  try {
    vitrail::Choice choice;
    if (argc > 1) choice.kernel = argv[1];
    if (argc > 2) choice.tactic = argv[2];
    return vitrail::run(choice);
  } catch (const vitrail::Error& e) {
    fmt::print(stderr, "vitrail_gpu_conformance: {}\n", e.what());
    return static_cast<int>(e.code);
  }
}
