// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <filesystem>
#include <string>

#include "kernels/gpu_kernel.h"

namespace vitrail {

/// One kernel on one problem.
struct HostCase {
  const GpuKernel* kernel;
  GpuMachine machine;
  Problem problem;
  Bindings symbols;
  Tactic tactic;
  uint64_t seed;
  std::string str() const;
};

/// Runs cases on the processor: their generated text is compiled for the host with emulation.h.
class HostTrials {
 public:
  /// Copies the emulation from the sources below the current folder into one of its own. `error()`
  /// says why nothing can run.
  HostTrials();
  ~HostTrials();
  HostTrials(const HostTrials&) = delete;
  HostTrials& operator=(const HostTrials&) = delete;
  const std::string& error() const { return error_; }

  struct Result {
    std::string wrong;    ///< what is wrong with the outputs or the run, or nothing
    std::string skipped;  ///< why it was not run
  };
  /// In as many processes as there are processors, so that a fault in one stays its own.
  std::vector<Result> run(const std::vector<HostCase>& cases) const;

 private:
  std::string run(const HostCase& c, const std::string& stem) const;
  std::filesystem::path folder_;
  std::string compiler_, error_, instructions_;
};

}  // namespace vitrail
