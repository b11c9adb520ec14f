// SPDX-License-Identifier: Apache-2.0
#include "runtime/cpu_speed.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "backends/cpu/memory.h"
#include "backends/cpu/pool.h"
#include "kernels/peak.h"

namespace vitrail {
namespace {

/// Seconds of the fastest of several tries: what else runs on the machine only slows them down.
template <typename Body>
double fastest(int tries, const Body& body) {
  using Clock = std::chrono::steady_clock;
  double best = 1e30;
  for (int i = 0; i < tries; ++i) {
    const auto start = Clock::now();
    body();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

/// GB/s, read and written, of every worker copying `bytes` within its own memory `rounds` times.
double copy_gbs(cpu::Lease& lease, size_t bytes, int rounds) {
  const auto workers = static_cast<size_t>(lease.workers());
  cpu::Memory memory;
  memory.reserve(2 * bytes * workers, "measuring the machine");
  const auto copy = [&](int64_t task, int) {
    std::byte* const mine = memory.data() + static_cast<size_t>(task) * 2 * bytes;
    for (int i = 0; i < rounds; ++i) {
      std::memcpy(mine + bytes, mine, bytes);
      mine[i] = mine[bytes + static_cast<size_t>(i)];  // keeps the rounds apart
    }
  };
  lease.parallel(lease.workers(), copy);  // touches the pages where they will be used
  const double took = fastest(5, [&] { lease.parallel(lease.workers(), copy); });
  return 2e-9 * static_cast<double>(bytes * workers) * rounds / took;
}

double multiply_add_gflops(cpu::Lease& lease) {
  const Isa isa = this_machine().isa;
  constexpr int64_t kRounds = 2000000;
  std::vector<float> sums(static_cast<size_t>(lease.workers()));
  const double took = fastest(5, [&] {
    lease.parallel(lease.workers(), [&](int64_t task, int) {
      sums[static_cast<size_t>(task)] = peak_multiply_adds(isa, kRounds);
    });
  });
  return 1e-9 * peak_flop(isa) * static_cast<double>(kRounds) * lease.workers() / took;
}

}  // namespace

MachineSpeed measure_cpu(int workers) {
  const Machine& machine = this_machine();
  cpu::Lease lease(workers);
  MachineSpeed out;
  out.name = machine.model;
  // Four times the last cache, within what a small machine can spare.
  constexpr size_t kLeast = size_t{16} << 20, kMost = size_t{128} << 20;
  const auto share = static_cast<size_t>(machine.l3_bytes) / static_cast<size_t>(workers);
  out.memory_gbs = copy_gbs(lease, std::clamp(2 * share, kLeast, kMost), 1);
  constexpr size_t kPage = 4096;
  out.cache_bytes = static_cast<double>(machine.l3_bytes);
  out.cache_gbs = copy_gbs(lease, std::max(share / 8 / kPage * kPage, kPage), 64);
  out.cache_gbs = std::max(out.cache_gbs, out.memory_gbs);
  out.gflops["vector"] = out.gflops["float32"] = multiply_add_gflops(lease);
  constexpr int kMeetings = 2000;
  out.launch_us = 1e6 / kMeetings * fastest(5, [&] {
                    for (int i = 0; i < kMeetings; ++i)
                      lease.parallel(lease.workers(), [](int64_t, int) {});
                  });
  return out;
}

}  // namespace vitrail
