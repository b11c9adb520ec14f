// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "compile/code_compiler.h"
#include "compile/gpu_plan.h"
#include "compile/tune.h"

namespace vitrail {

class Executor;

/// Candidates for a problem on a GPU, the heuristic choice first: the tactics of the kernel that an
/// untuned plan takes, and the best few of the others that accept it. Empty when nothing does.
std::vector<TimedCandidate> gpu_candidates(const Problem& problem, const BoundProblem& bound,
                                           const GpuMachine& machine, const KernelSet& kernels);

/// What GPU timings depend on besides the problem: device, driver, compiler, kernels.
std::string gpu_timing_key(const GpuMachine& machine, int driver_version);

/// A GPU of this machine. Candidates are compiled in the background as soon as they are announced,
/// and timed in a graph of many launches, each of which may start while the one before ends, as in
/// a plan. Weights come from the device's memory where the plan's weights and the operands at hand
/// fill more than half its cache, otherwise from its cache; what varies lies there when it fits.
class GpuTuning : public TuningDevice {
 public:
  GpuTuning(const Plan& plan, const GpuTarget& target, const KernelSet& kernels,
            CodeCompiler& compiler);
  ~GpuTuning() override;
  std::string name() const override { return target_.machine.model; }
  std::vector<TimedCandidate> candidates(const Problem& problem,
                                         const BoundProblem& bound) override;
  std::string circumstances(const Problem& problem, const BoundProblem& bound) const override;
  double estimate(const BoundProblem& bound) const override;
  void announce(const std::vector<const TuningJob*>& jobs) override;
  void open(const TuningJob& job, const std::vector<Tensor>& weights) override;
  double run(size_t candidate) override;
  void close() override;
  void sign(Plan& plan) const override;

 private:
  GpuCode code_of(const TuningJob& job, size_t candidate) const;
  bool cold(const BoundProblem& bound) const;
  void fill_operands(const TuningJob& job);
  template <typename Try>
  void each_slot(const Try& attempt);

  const GpuTarget& target_;
  const KernelSet& kernels_;
  CodeCompiler& compiler_;
  std::string plan_target_;
  double weight_bytes_ = 0;  // of the plan
  // The open job's:
  std::unique_ptr<Executor> executor_;
  std::vector<int> slot_;  // of each candidate among the stand's; -1: it does not run here
  int launches_ = 1;
  size_t evict_bytes_ = 0;
};

}  // namespace vitrail
