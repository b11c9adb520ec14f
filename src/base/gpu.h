// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/expr.h"

namespace vitrail {

/// What GPU kernels and the tuner need to know of a device.
struct GpuMachine {
  int sm = 90;  ///< compute capability, 10 * major + minor
  int multiprocessors = 132;
  int64_t shared_bytes = 227 << 10;  ///< most that one block can have (opt-in)
  int64_t l2_bytes = 50 << 20;
  int64_t memory_bytes = 0;  ///< of the device; 0: not known
  std::string model;         ///< as the device names itself; empty: typical of the architecture

  /// Whether the instructions of an architecture's own ("sm_90a": wgmma, TMA) can be used.
  bool hopper() const { return sm == 90; }
  /// NVRTC's name of the architecture: "sm_90a", "sm_80".
  std::string architecture() const;
};
/// A typical device of compute capability `sm` (80, 86, 87, 89, 90): what a plan is built for where
/// no device is present. Throws Error(unsupported) for another.
GpuMachine typical_gpu(int sm);

/// One launch of a kernel as data, at every value of the symbols. Its parameters are 8 bytes each,
/// in this order: the problem's inputs and outputs (device addresses of element 0), the workspace's
/// address, the counters' address, then `numbers`.
struct GpuLaunch {
  std::string entry;                     ///< extern "C" name
  std::array<Expr, 3> grid = {1, 1, 1};  ///< blocks; an extent of 0: nothing is launched
  int threads = 1;                       ///< of a block, in one dimension
  int64_t shared_bytes = 0;              ///< dynamic shared memory
  std::vector<Expr> numbers;  ///< launch parameters: extents and strides that are no literals
  int cluster = 1;            ///< blocks of a cluster along x; 1: none
  bool operator==(const GpuLaunch&) const = default;
};

/// What a kernel makes of a problem: CUDA source and how to launch it. Launches run in order and
/// share the workspace.
struct GpuCode {
  std::string source;  ///< complete, includes nothing; equal sources are compiled once
  std::vector<GpuLaunch> launches;
  Expr workspace_bytes = 0;  ///< uninitialised, 256-byte aligned
  Expr counters = 0;  ///< 32-bit integers that are zero before the first launch and after the last
};

}  // namespace vitrail
