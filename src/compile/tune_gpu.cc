// SPDX-License-Identifier: Apache-2.0
#include "compile/tune_gpu.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>
#include <utility>

#include "backends/cuda/driver.h"
#include "base/error.h"
#include "base/log.h"
#include "compile/gpu_stand.h"
#include "compile/jobs.h"
#include "compile/nvrtc.h"
#include "kernels/revision.h"
#include "runtime/executor.h"

namespace vitrail {
namespace {

constexpr size_t kMostOfOthers = 4;

// Each takes a processor a quarter of a second to compile: with few processors fewer are tried, so
// that the budget does for all problems of a model.
size_t most_candidates() {
  constexpr unsigned kFewProcessors = 7;
  constexpr size_t kMost = 20, kMostByFew = 12;
  return std::thread::hardware_concurrency() > kFewProcessors ? kMost : kMostByFew;
}

double varying_bytes(const BoundProblem& bound) {
  double bytes = bytes_of(bound);
  for (const BoundOperand& o : bound.inputs)
    if (o.constant)
      bytes -= static_cast<double>(element_count(o.dims)) * static_cast<double>(size_of(o.dtype));
  return bytes;
}

}  // namespace

std::vector<TimedCandidate> gpu_candidates(const Problem& problem, const BoundProblem& bound,
                                           const GpuMachine& machine, const KernelSet& kernels) {
  std::vector<TimedCandidate> out;
  const auto heuristic = heuristic_choice(bound, machine, kernels);
  if (!heuristic) return out;
  out.push_back(*heuristic);
  const size_t most = most_candidates();
  bool fastest = true;  // rows stand in that order; one that is preferred stands last
  for (const GpuKernel* kernel : kernels.gpu) {
    if (problem.family != kernel->family || !kernels.has(*kernel) ||
        !kernel->accepts(problem, machine).empty())
      continue;
    // Room is left for other rows.
    const size_t own = std::exchange(fastest, false) ? most - kMostOfOthers
                       : kernel->preferred           ? most
                                                     : kMostOfOthers;
    size_t count = 0;
    for (Tactic& tactic : kernel->tactics(bound, machine)) {
      if (out.size() == most || count++ == own) break;
      if (TimedCandidate c{kernel->name, std::move(tactic), 0}; c != out[0])
        out.push_back(std::move(c));
    }
  }
  return out;
}

std::string gpu_timing_key(const GpuMachine& machine, int driver_version) {
  return fmt::format(
      "{}, {}, {} multiprocessors, {} KiB, driver for CUDA {}.{}, NVRTC {}, cuBLASLt {}, cuDNN {}, "
      "kernels {}",
      machine.model, machine.architecture(), machine.multiprocessors, machine.l2_bytes >> 10,
      driver_version / 1000, driver_version / 10 % 100, nvrtc_version(), machine.cublas_lt.version,
      machine.cudnn.version, kernel_revision());
}

GpuTuning::GpuTuning(const Plan& plan, const GpuTarget& target, const KernelSet& kernels,
                     CodeCompiler& compiler)
    : target_(target), kernels_(kernels), compiler_(compiler), plan_target_(plan.target) {
  for (const Tensor& t : plan.constants) weight_bytes_ += static_cast<double>(t.bytes());
}
GpuTuning::~GpuTuning() = default;

std::vector<TimedCandidate> GpuTuning::candidates(const Problem& problem,
                                                  const BoundProblem& bound) {
  return gpu_candidates(problem, bound, target_.machine, kernels_);
}

bool GpuTuning::cold(const BoundProblem& bound) const {
  return weight_bytes_ + varying_bytes(bound) > static_cast<double>(target_.machine.l2_bytes) / 2;
}

// Code has symbols as numbers of the launch and other extents as literals, so a plan for a range is
// not timed by one for a shape.
std::string GpuTuning::circumstances(const Problem& problem, const BoundProblem& bound) const {
  return fmt::format("weights from {}{}", cold(bound) ? "memory" : "cache",
                     symbols_of(problem).empty() ? "" : ", of " + problem.str());
}

// Seconds: bytes at memory's rate, products at that of tensor cores, and a launch.
double GpuTuning::estimate(const BoundProblem& bound) const {
  constexpr double kBytes = 3e12, kFlop = 1e14, kLaunch = 1.5e-6;
  return std::max(bytes_of(bound) / kBytes, flop_of(bound) / kFlop) + kLaunch;
}

GpuCode GpuTuning::code_of(const TuningJob& job, size_t candidate) const {
  const TimedCandidate& c = job.candidates[candidate];
  return kernels_.find_gpu(c.kernel).generate(job.step->problem, c.tactic, target_.machine);
}

void GpuTuning::announce(const std::vector<const TuningJob*>& jobs) {
  for (const TuningJob* job : jobs)
    for (size_t i = 0; i < job->candidates.size(); ++i)
      if (const std::string source = code_of(*job, i).source; !source.empty())
        compiler_.start(source);
}

void GpuTuning::open(const TuningJob& job, const std::vector<Tensor>& weights) {
  StandRequest request{.step = job.step,
                       .bound = &job.bound,
                       .at = {},
                       .weights = weights,
                       .candidates = {},
                       .modules = {},
                       .target = plan_target_};
  for (const std::string& name : symbols_of(job.step->problem)) request.at[name] = job.at.at(name);
  for (size_t i = 0; i < job.candidates.size(); ++i) {
    GpuCode code = code_of(job, i);
    int module = -1;  // of a library alone
    if (!code.source.empty()) {
      try {
        request.modules.push_back(compiler_.get(code.source));
      } catch (const Error& error) {  // the plan can do without it, unless it is what would run
        if (i == 0 || error.code != Code::internal) throw;
        log_warning("not timed: {} of '{}': {}", job.candidates[i].kernel,
                    printable(job.step->name), error.what());
        slot_.push_back(-1);
        continue;
      }
      module = static_cast<int>(request.modules.size()) - 1;
    }
    slot_.push_back(static_cast<int>(request.candidates.size()));
    request.candidates.push_back({.when = {},
                                  .kernel = job.candidates[i].kernel,
                                  .tactic = job.candidates[i].tactic,
                                  .module = module,
                                  .launches = std::move(code.launches),
                                  .workspace_bytes = std::move(code.workspace_bytes),
                                  .counters = std::move(code.counters)});
  }
  launches_ = request.launches = stand_launches(1e6 * estimate(job.bound));
  const bool from_memory = cold(job.bound);
  evict_bytes_ = from_memory ? 2 * static_cast<size_t>(target_.machine.l2_bytes) : 0;
  request.weight_sets = from_memory ? request.launches : 1;
  executor_ = std::make_unique<Executor>(
      std::make_shared<const Plan>(stand_plan(request)),
      ExecutorOptions{.threads = 1,
                      .device = fmt::format("cuda:{}", target_.machine.device),
                      .bindings = job.candidates.size()});
  for (const auto& [name, value] : request.at) executor_->set_symbol(name, value);
  // All are bound before any is recorded: memory that grows moves, and recordings are forgotten.
  each_slot([] {});
  if (slot_.at(0) >= 0) fill_operands(job);
  each_slot([&] { executor_->time_replay(0); });
  require(slot_.at(0) >= 0, Code::resource, "the heuristic choice does not run at these extents");
}

// Drops candidates that cannot run at these extents: too many blocks, a library without an
// algorithm, too much workspace.
template <typename Try>
void GpuTuning::each_slot(const Try& attempt) {
  for (int& slot : slot_) {
    if (slot < 0) continue;
    executor_->set_symbol(kStandCandidate, slot);
    try {
      executor_->bind();
      attempt();
    } catch (const Error& error) {
      if (error.code != Code::unsupported && error.code != Code::resource) throw;
      slot = -1;
    }
  }
}

void GpuTuning::fill_operands(const TuningJob& job) {
  executor_->set_symbol(kStandCandidate, slot_[0]);
  RunHooks hooks;
  hooks.before = [&](int index, const Step& step) {
    if (index != 0) return;
    for (size_t i = 0; i < step.inputs.size(); ++i)
      if (!job.step->problem.inputs[i].constant &&
          executor_->plan().buffers[executor_->plan().values[step.inputs[i]].buffer].kind ==
              PlanBuffer::Kind::arena)
        executor_->write_value(step.inputs[i],
                               varied(job.bound.inputs[i].dtype, job.bound.inputs[i].dims));
  };
  hooks.select = [](int index, const Step&) { return index == 0; };
  executor_->run(hooks);
}

double GpuTuning::run(size_t candidate) {
  if (slot_.at(candidate) < 0) return std::numeric_limits<double>::infinity();
  executor_->set_symbol(kStandCandidate, slot_[candidate]);
  executor_->bind();
  return executor_->time_replay(evict_bytes_) / launches_;
}

void GpuTuning::close() {
  executor_.reset();
  slot_.clear();
}

void GpuTuning::sign(Plan& plan) const {
  const int version = cuda::Device::open(target_.machine.device)->driver_version();
  plan.tuned_for = fmt::format("{}, driver for CUDA {}.{}", target_.machine.model, version / 1000,
                               version / 10 % 100);
}

}  // namespace vitrail
