// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/expr.h"

namespace vitrail {

/// A vendor's library as a build sees it.
struct GpuLibrary {
  int64_t version = 0;                           ///< as the library counts; 0: must not be used
  std::string missing = "it was not asked for";  ///< why not
};

/// What GPU kernels and the tuner need to know of a device.
struct GpuMachine {
  int sm = 90;  ///< compute capability, 10 * major + minor
  int multiprocessors = 132;
  int64_t shared_bytes = 227 << 10;  ///< most that one block can have (opt-in)
  int64_t l2_bytes = 50 << 20;
  int64_t memory_bytes = 0;  ///< of the device; 0: not known
  std::string model;         ///< as the device names itself; empty: typical of the architecture
  /// The device itself, where the build has it (cuda::Device::open): libraries are asked on it.
  int device = -1;
  GpuLibrary cublas_lt, cudnn;

  /// Whether the instructions of an architecture's own ("sm_90a": wgmma, TMA) can be used.
  bool hopper() const { return sm == 90; }
  /// NVRTC's name of the architecture: "sm_90a", "sm_80".
  std::string architecture() const;
};
/// A typical device of compute capability `sm` (80, 86, 87, 89, 90): what a plan is built for where
/// no device is present. Throws Error(unsupported) for another.
GpuMachine typical_gpu(int sm);

/// A call of a vendor's library as data, instead of a kernel's launch. The library is loaded when
/// needed; cuda::prepare_call() makes something that runs of it (backends/cuda/library.h).
struct LibraryCall {
  std::string library;    ///< "cublasLt" or "cudnn"
  int64_t version = 0;    ///< that `numbers` were chosen with, as the library counts
  std::string operation;  ///< "matmul", "convolution"
  /// The operation's own: extents, strides, types, which parameter of the launch each operand is,
  /// the algorithm.
  std::map<std::string, Expr, std::less<>> numbers;
  bool operator==(const LibraryCall&) const = default;
};

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
  /// Called instead, with the same addresses; everything above is then as it is by default.
  std::optional<LibraryCall> library;
  bool operator==(const GpuLaunch&) const = default;
};

/// What a kernel makes of a problem: CUDA source and how to launch it. Launches run in order and
/// share the workspace.
struct GpuCode {
  /// Complete, includes nothing; equal sources are compiled once. Empty: only libraries are called.
  std::string source;
  std::vector<GpuLaunch> launches;
  Expr workspace_bytes = 0;  ///< uninitialised, 256-byte aligned
  Expr counters = 0;  ///< 32-bit integers that are zero before the first launch and after the last
};

}  // namespace vitrail
