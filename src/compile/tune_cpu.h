// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>
#include <optional>

#include "compile/kernel_set.h"
#include "compile/stand.h"
#include "compile/tune.h"

namespace vitrail {

/// Candidates for a problem on this machine, the heuristic choice first: every tactic of the
/// kernels of the highest level that take the problem, and the first tactic of the level below
/// (wide vectors do not always win). Empty when nothing takes it.
std::vector<TimedCandidate> candidates(const Problem& problem, const BoundProblem& bound,
                                       const KernelSet& kernels, int workers);

/// This processor with `workers` workers.
class CpuTuning : public TuningDevice {
 public:
  CpuTuning(const KernelSet& kernels, int workers)
      : kernels_(kernels), workers_(workers), lease_(workers) {}
  std::string name() const override;
  std::vector<TimedCandidate> candidates(const Problem& problem,
                                         const BoundProblem& bound) override;
  double least_us(const BoundProblem& bound) const override;
  double estimate(const BoundProblem& bound) const override;
  double step_us() const override;
  void open(const TuningJob& job, const std::vector<Tensor>& weights) override;
  double run(size_t candidate) override;
  void close() override;
  void sign(Plan& plan) const override;

 private:
  struct Entrant {
    const CpuKernel* kernel;
    Launch launch;
  };
  const KernelSet& kernels_;
  int workers_;
  cpu::Lease lease_;
  std::vector<Entrant> entrants_;
  std::optional<Stand> stand_;
};

}  // namespace vitrail
