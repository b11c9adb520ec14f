// SPDX-License-Identifier: Apache-2.0
#include "compile/tune_cpu.h"

#include <algorithm>

#include "base/error.h"
#include "compile/jobs.h"

namespace vitrail {

std::vector<TimedCandidate> candidates(const Problem& problem, const BoundProblem& bound,
                                       const KernelSet& kernels, int workers) {
  std::vector<TimedCandidate> out;
  std::optional<Isa> best, next;
  for (const CpuKernel* kernel : kernels.all) {
    if (problem.family != kernel->family || kernel->isa > this_machine().isa ||
        !kernels.has(*kernel))
      continue;
    if (!kernel->accepts(problem).empty()) continue;
    if (!best) best = kernel->isa;
    if (kernel->isa == *best) {
      const std::vector<Tactic> tactics = kernel->tactics(bound, this_machine(), workers);
      out.push_back({kernel->name, {}, 0});  // the first tactic follows the extents
      for (size_t i = 1; i < tactics.size(); ++i) out.push_back({kernel->name, tactics[i], 0});
    } else if (kernel->isa != Isa::baseline && (!next || kernel->isa == *next)) {
      next = kernel->isa;
      out.push_back({kernel->name, {}, 0});
    }
  }
  return out;
}

std::string CpuTuning::name() const { return fmt::format("{} workers", workers_); }

std::vector<TimedCandidate> CpuTuning::candidates(const Problem& problem,
                                                  const BoundProblem& bound) {
  return vitrail::candidates(problem, bound, kernels_, workers_);
}

double CpuTuning::least_us(const BoundProblem& bound) const {
  // More than cores of today reach: two FMAs and a line from the second level in each of 5000
  // cycles a microsecond; from beyond it, 64 GB/s a core.
  constexpr double kCycles = 5000, kLine = 64, kBeyond = 64e3;
  const Machine& machine = this_machine();
  const double lanes = machine.isa >= Isa::avx512 ? 16 : machine.isa >= Isa::avx2 ? 8 : 4;
  const double bytes = bytes_of(bound);
  const bool near = bytes <= static_cast<double>(machine.l2_bytes) * workers_;
  return std::max(flop_of(bound) / (lanes * 4 * kCycles),
                  bytes / (near ? kLine * kCycles : kBeyond)) /
         workers_;
}

// A core of the last ten years, near its peak or its memory's.
double CpuTuning::estimate(const BoundProblem& bound) const {
  return flop_of(bound) / 5e10 + bytes_of(bound) / 1e10;
}

// The code and state of a launch that is repeated are warm. Beside that, eleven small steps of a
// plan took 4.5 us longer than they do here (docs/results/cpu_forms.md).
double CpuTuning::step_us() const { return 0.4; }

void CpuTuning::open(const TuningJob& job, const std::vector<Tensor>& weights) {
  for (const TimedCandidate& c : job.candidates) {
    const CpuKernel* kernel =
        *std::find_if(kernels_.all.begin(), kernels_.all.end(),
                      [&](const CpuKernel* k) { return k->name == c.kernel; });
    const Tactic tactic =
        c.tactic.empty() ? kernel->tactics(job.bound, this_machine(), workers_).at(0) : c.tactic;
    entrants_.push_back({kernel, kernel->bind(job.bound, tactic, this_machine(), workers_)});
  }
  stand_.emplace(job.bound, weights, lease_);
}

// Launches shorter than a few hundred microseconds run several times in a row, the least counts.
double CpuTuning::run(size_t candidate) {
  constexpr double kLongEnough = 300;
  const Entrant& e = entrants_.at(candidate);
  double least = stand_->run(*e.kernel, e.launch);
  const int more = std::min(8, static_cast<int>(kLongEnough / std::max(least, 1.0)));
  for (int r = 0; r < more; ++r) least = std::min(least, stand_->run(*e.kernel, e.launch));
  return least;
}

void CpuTuning::close() {
  stand_.reset();
  entrants_.clear();
}

void CpuTuning::sign(Plan& plan) const {
  const Machine& machine = this_machine();
  plan.tuned_isa = static_cast<int>(machine.isa);
  plan.tuned_threads = workers_;
  plan.tuned_for = fmt::format("{}, {}, {} threads", machine.model, name_of(machine.isa), workers_);
}

}  // namespace vitrail
