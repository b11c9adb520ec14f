// SPDX-License-Identifier: Apache-2.0
// vitrail_kernel_bench [text]: times every kernel whose name or case contains the text, one thread,
// and prints GFLOP/s and GB/s of compulsory traffic. --tactics: each tactic of the kernel's list.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "kernels/trial.h"

namespace vitrail {
namespace {
/// Processor time of this thread: what else runs on the machine does not count.
double now() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// Fastest of repeated runs over about 0.15 s, in seconds; operands stay warm in cache as they do
/// between the steps of a plan.
double time_launch(const CpuKernel& kernel, const BoundProblem& problem, const Launch& launch,
                   const KernelArgs& args) {
  const Tensor scratch(DType::u8, {static_cast<int64_t>(launch.scratch_bytes)});
  const Tensor shared(DType::u8, {static_cast<int64_t>(launch.shared_bytes)});
  double best = 1e30;
  const double until = now() + 0.15;
  for (int round = 0; round < 3 || now() < until; ++round) {
    const double begin = now();
    for (int64_t task = 0; task < launch.tasks; ++task)
      kernel.run(problem, launch, args, task, const_cast<void*>(scratch.raw()),
                 const_cast<void*>(shared.raw()));
    best = std::min(best, now() - begin);
  }
  return best;
}

void bench(const CpuKernel& kernel, const KernelFamily& family, const BenchCase& c,
           bool all_tactics) {
  if (const Refusal why = kernel.accepts(c.problem); !why.empty()) {
    std::printf("%-28s %-34s refused: %s\n", kernel.name, c.name.c_str(), why.c_str());
    return;
  }
  Machine machine = this_machine();
  machine.isa = kernel.isa;
  const BoundProblem problem = bind(c.problem, {});
  Trial trial(family, problem, 1);
  std::vector<Tactic> tactics = kernel.tactics(problem, machine, 1);
  if (!all_tactics) tactics.resize(1);
  for (const Tactic& tactic : tactics) {
    const double seconds =
        time_launch(kernel, problem, kernel.bind(problem, tactic, machine, 1), trial.args());
    std::printf("%-28s %-34s %10.1f us %8.1f GFLOP/s %7.1f GB/s  %s\n", kernel.name, c.name.c_str(),
                seconds * 1e6, family.flop(problem) / seconds * 1e-9,
                trial.traffic_bytes() / seconds * 1e-9, to_string(tactic).c_str());
    std::fflush(stdout);
  }
}
}  // namespace
}  // namespace vitrail

int main(int argc, char** argv) {
  using namespace vitrail;
  bool all_tactics = false;
  std::vector<std::string> filters;
  for (int i = 1; i < argc; ++i)
    if (std::strcmp(argv[i], "--tactics") == 0)
      all_tactics = true;
    else
      filters.emplace_back(argv[i]);
  for (const CpuKernel* kernel : all_cpu_kernels()) {
    if (kernel->isa > this_machine().isa) continue;
    const KernelFamily& family = *find_family(kernel->family);
    for (const BenchCase& c : family.bench()) {
      if (!kernel->accepts(c.problem).empty()) continue;
      const std::string name = std::string(kernel->name) + " " + c.name;
      if (std::all_of(filters.begin(), filters.end(),
                      [&](const std::string& f) { return name.find(f) != std::string::npos; }))
        bench(*kernel, family, c, all_tactics);
    }
  }
  return 0;
}
