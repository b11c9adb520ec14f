// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/speed.h"

#include <algorithm>
#include <vector>

#include "base/error.h"

namespace vitrail::cuda {
namespace {

class Meter {
 public:
  explicit Meter(const std::shared_ptr<Device>& device)
      : device_(device),
        stream_(device),
        general_(device, text_[0].c_str()),
        hopper_(device->machine().hopper() ? std::make_unique<Module>(device, text_[1].c_str())
                                           : nullptr) {}

  /// Least microseconds of several tries.
  double time(const Module& module, const char* entry, unsigned blocks, unsigned threads,
              std::vector<uint64_t> parameters) {
    const KernelLaunch launch{.function = module.function(entry, 0),
                              .grid = {blocks, 1, 1},
                              .threads = threads,
                              .parameters = parameters};
    constexpr int kTries = 6;
    double least = 1e30;
    for (int i = 0; i < kTries; ++i) {
      stream_.mark(0);
      stream_.launch(launch);
      stream_.mark(1);
      least = std::min(least, stream_.microseconds_between_marks());
    }
    return least;
  }

  /// GFLOP/s of a kernel of this file. Rounds: so many that a try takes about a millisecond.
  double rate(const Module& module, const char* entry, unsigned threads, unsigned blocks_each,
              double flop_of_a_block) {
    const auto blocks = blocks_each * static_cast<unsigned>(device_->machine().multiprocessors);
    uint64_t rounds = 64;
    double took = time(module, entry, blocks, threads, {rounds, 0});
    constexpr double kWanted = 2000;
    rounds = std::max<uint64_t>(
        rounds, static_cast<uint64_t>(static_cast<double>(rounds) * kWanted / std::max(took, 1.0)));
    took = time(module, entry, blocks, threads, {rounds, 0});
    return 1e-3 * flop_of_a_block * blocks * static_cast<double>(rounds) / took;
  }

  double copy_gbs(size_t bytes, uint64_t rounds) {
    Memory from(device_), to(device_);
    from.reserve(bytes, "measuring the device's memory");
    to.reserve(bytes, "measuring the device's memory");
    stream_.fill(from.data(), 1, bytes);
    constexpr unsigned kThreads = 512, kBlocksEach = 4;
    const auto blocks = kBlocksEach * static_cast<unsigned>(device_->machine().multiprocessors);
    const double took = time(general_, "copy", blocks, kThreads,
                             {rounds, reinterpret_cast<uint64_t>(from.data()),
                              reinterpret_cast<uint64_t>(to.data()), bytes / 16});
    return 2e-3 * static_cast<double>(bytes) * static_cast<double>(rounds) / took;
  }

  double launch_us() {
    constexpr int kLaunches = 128, kTries = 9;
    Stamps stamps(device_);
    stamps.reserve(2);
    const bool overlap = hopper_ != nullptr;
    const KernelLaunch launch{
        .function = (overlap ? *hopper_ : general_).function("empty", 0),
        .grid = {static_cast<unsigned>(device_->machine().multiprocessors), 1, 1},
        .threads = 128,
        .parameters = {}};
    stream_.begin_recording();
    stream_.stamp(stamps, 0);
    for (int i = 0; i < kLaunches; ++i) {
      KernelLaunch next = launch;
      next.overlap = overlap && i > 0;
      stream_.launch(next);
    }
    stream_.stamp(stamps, 1);
    const auto graph = stream_.end_recording();
    double least = 1e30;
    for (int i = 0; i < kTries; ++i) {
      stream_.launch(*graph);
      least = std::min(least, stamps.microseconds(0, 1));
    }
    return least / kLaunches;
  }

  Speed measure() {
    Speed out;
    out.memory_gbs = copy_gbs(size_t{512} << 20, 1);
    const auto quarter = static_cast<size_t>(device_->machine().l2_bytes / 4);
    out.cache_gbs = copy_gbs(quarter / 2 / 16 * 16, 64);
    out.launch_us = launch_us();
    constexpr double kVector = 64, kMma = 8 * 2 * 16 * 8, kWgmma = 8 * 2.0 * 64 * 256;
    auto& g = out.gflops;
    g["vector"] = rate(general_, "vector", 512, 4, kVector * 512);
    for (const auto& [name, k] : {std::pair{"float16", 16}, {"bfloat16", 16}, {"tf32", 8}}) {
      constexpr unsigned kWarps = 8;
      g[name] =
          rate(general_, fmt::format("mma_{}", name).c_str(), 32 * kWarps, 4, kMma * k * kWarps);
      if (hopper_)
        g[name] = std::max(
            g[name], rate(*hopper_, fmt::format("wgmma_{}", name).c_str(), 128, 2, kWgmma * k));
    }
    g["float32"] = std::max(g["vector"], g["tf32"] / 3);
    return out;
  }

 private:
  const std::string text_[2] = {speed_kernels(false), speed_kernels(true)};
  std::shared_ptr<Device> device_;
  Stream stream_;
  Module general_;
  std::unique_ptr<Module> hopper_;
};

}  // namespace

Speed measure_speed(const std::shared_ptr<Device>& device) { return Meter(device).measure(); }

}  // namespace vitrail::cuda
