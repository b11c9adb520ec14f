// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/cuda/driver.h"
#include "backends/cuda/library.h"
#include "kernels/gpu_kernel.h"
#include "kernels/trial.h"

namespace vitrail {

/// One kernel on one problem: everything up to the device's part is the host's work, which any
/// thread can do.
struct DeviceCase {
  const GpuKernel* kernel;
  Problem problem;
  Bindings symbols;
  Tactic tactic;
  uint64_t seed;
  // By prepare():
  BoundProblem bound;
  GpuCode code;
  Tensor cubin;
  std::unique_ptr<Trial> trial;
  std::vector<Tensor> expected;
  std::string error;  ///< why there is nothing to run

  /// Generates, compiles, draws the operands and runs the family's reference.
  void prepare(const GpuMachine& machine);
  /// Frees what prepare() made.
  void release();
};

/// Runs cases on device 0: inside poisoned memory, alone and, recorded into a graph, behind
/// launches that are slow to write what varies.
class DeviceTrials {
 public:
  DeviceTrials();
  const GpuMachine& machine() const { return machine_; }

  /// What is wrong with the outputs, or nothing. `compare` is asked for each output.
  using Compare = std::function<std::string(const Tensor& got, const Tensor& expected)>;
  std::string run(DeviceCase& c, const Compare& compare);

 private:
  struct Place {  // of one operand
    std::unique_ptr<cuda::Memory> memory, late;
    std::byte* start;
  };
  std::string run(DeviceCase& c, bool delayed, const Compare& compare);
  using Calls = std::vector<std::unique_ptr<cuda::LibraryOperation>>;
  Calls prepared_calls(const DeviceCase& c, size_t operands) const;
  void deliver_late(DeviceCase& c, const std::vector<Place>& places);
  void launch(const DeviceCase& c, const std::optional<cuda::Module>& module, const Calls& calls,
              const std::vector<uint64_t>& parameters, bool delayed);

  std::shared_ptr<cuda::Device> device_;
  cuda::Stream stream_;
  cuda::Module delay_;
  GpuMachine machine_;
};

}  // namespace vitrail
