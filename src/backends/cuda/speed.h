// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <string>

#include "backends/cuda/driver.h"

namespace vitrail::cuda {

/// What a device can do, measured by small kernels. Takes about a second.
struct Speed {
  double memory_gbs = 0;  ///< a copy of 512 MiB, read and written bytes
  double cache_gbs = 0;   ///< the same inside a quarter of the second-level cache
  double launch_us = 0;   ///< an empty kernel in a chain of overlapping ones
  /// "vector", "float32", "tf32", "float16", "bfloat16". float32: multiply-adds, or a third of TF32
  /// where that is more, since three TF32 products make a float32 one.
  std::map<std::string, double> gflops;
};
/// Throws Error(resource) when memory or the device fails.
Speed measure_speed(const std::shared_ptr<Device>& device);

/// The kernels, as PTX for the driver to translate: no compiler is needed where plans run.
/// `hopper`: those with instructions of 9.0 only.
std::string speed_kernels(bool hopper);

}  // namespace vitrail::cuda
