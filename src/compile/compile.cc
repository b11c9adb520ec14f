// SPDX-License-Identifier: Apache-2.0
#include "compile/compile.h"

#include <fmt/ranges.h>

#include <chrono>
#include <set>

#include "backends/cpu/pool.h"
#include "backends/cuda/driver.h"
#include "base/error.h"
#include "base/log.h"
#include "compile/account.h"
#include "compile/gpu_plan.h"
#include "compile/gpu_plan_stand.h"
#include "compile/host_account.h"
#include "compile/joint_code.h"
#include "compile/packed_weights.h"
#include "compile/search.h"
#include "compile/tune_cpu.h"
#include "compile/tune_gpu.h"
#include "compile/verify.h"
#include "ir/text.h"
#include "passes/pipeline.h"

namespace vitrail {

namespace {

// Constants above this many elements are kept in the plan's store of weights, not in the graph's
// text.
constexpr size_t kLargestInText = 64;
constexpr double kShareOfRows = 0.75;  // of the budget, for kernels timed by themselves
// Where each stage ends on a bar from 0 to 1: by what takes long in most builds.
constexpr double kPassesDone = 0.05, kTuningDone = 0.6;

int worker_count(int threads) {
  return threads == 0 ? std::min(this_machine().cores, cpu::kMaxThreads) : threads;
}

void count_steps(const Block& block, BuildReport& report) {
  for (const Step& step : block) {
    ++report.steps;
    if (step.kind == Step::Kind::launch)
      ++report.kernels[step.problem.family];
    else
      ++report.kernels[step.kind == Step::Kind::host     ? "reference " + step.op
                       : step.kind == Step::Kind::branch ? "branch"
                                                         : "loop"];
    for (const Block& inner : step.blocks) count_steps(inner, report);
  }
}

void count_kernels(const Plan& plan, BuildReport& report) {
  count_steps(plan.steps, report);
  for (const Tensor& t : plan.constants) report.weight_bytes += t.bytes();
}

std::string failures(const BuildReport& report) {
  std::string out;
  for (const CheckRow& row : report.verification)
    if (!row.ok) {
      out += fmt::format("; output '{}' at {}: largest error {:.3g}, cosine {:.6f}",
                         printable(row.output), row.at, row.abs_max, row.cosine);
      if (row.rounded_l2 > 0)
        out += fmt::format(", relative L2 {:.3g}, {:.2f} times that of rounding alone",
                           row.relative_l2, row.relative_l2 / row.rounded_l2);
    }
  return out;
}

class Build {
 public:
  Build(const ir::Graph& imported, const BuildOptions& options, BuildReport& report,
        const KernelSet& kernels, std::span<const passes::Pass> passes)
      : imported_(imported),
        options_(options),
        report_(report),
        workers_(worker_count(options.threads)),
        gpu_(gpu_target(options)),
        cache_(options.timing_cache, key_of_timings()),
        kernels_(kernels),
        passes_(passes),
        references_(imported, options.cache_folder) {
    check_disabled_passes();
    if (gpu_) compiler_.emplace(gpu_->machine.architecture(), gpu_->cache_folder);
    if (!options_.profiles.empty()) options_.shapes = hull_of(options_.profiles);
    settle_verification();
  }

  Plan run() {
    for (;;) {
      ir::Graph graph = imported_.clone();
      Plan plan = make(graph);
      tell("verification", kTuningDone);
      const auto failed = verify_plan(imported_, plan, options_, kernels_, references_, report_);
      if (!failed) return finished(std::move(plan));
      switch_off(
          find_blame(imported_, graph, plan, options_, kernels_, passes_, *failed, references_));
    }
  }

 private:
  void tell(const char* stage, double done) const {
    if (options_.progress) options_.progress(stage, done);
  }

  void check_disabled_passes() const {
    std::set<std::string> known;  // some run more than once
    for (const passes::Pass& pass : passes_) known.insert(pass.name);
    for (const std::string& name : options_.disabled_passes)
      require(known.contains(name), Code::usage,
              "there is no rewrite or fusion '{}' to leave out; there are {}", printable(name),
              fmt::join(known, ", "));
  }

  void settle_verification() {
    const bool here = !gpu_ || gpu_->machine.device >= 0;
    if (options_.verify == VerifyLevel::automatic) {
      options_.verify = here ? VerifyLevel::fast : VerifyLevel::off;
      if (!here)
        unverified_ = fmt::format("no device of {} is here; run 'vitrail compare PLAN MODEL' there",
                                  gpu_->machine.architecture());
    } else if (options_.verify == VerifyLevel::off) {
      unverified_ = "--verify off";
    }
    require(here || options_.verify == VerifyLevel::off, Code::resource,
            "--verify wants a device of {}, and none is here: leave it out, and run "
            "'vitrail compare PLAN MODEL' where the plan runs",
            gpu_ ? gpu_->machine.architecture() : "");
  }

  std::string key_of_timings() const {
    if (!gpu_ || gpu_->machine.device < 0) return timing_key(this_machine(), workers_);
    const auto device = cuda::Device::open(gpu_->machine.device);
    return gpu_timing_key(gpu_->machine, device->driver_version());
  }

  // Shapes, passes, plan, tuning, other forms and orders.
  Plan make(ir::Graph& graph) {
    report_ = {};
    report_.lines = switched_off_;
    tell("passes", 0);
    report_.nodes_before = graph.node_count();
    const Bindings opt = apply_shapes(graph, options_.shapes);
    graph.infer_all();
    passes::run(graph, {.disabled = options_.disabled_passes,
                        .observe = {},
                        .passes = passes_,
                        .gpu = gpu_.has_value()});
    for (const std::string& w : graph.warnings) report_.lines.push_back("warning: " + w);
    tell("layout", kPassesDone / 2);
    const ir::Graph fused = graph.clone();
    PackedWeights packed;
    const auto lay_out_plan = [&](ir::Graph open, const AxisOrders& orders) {
      Built out{.graph = std::move(open)};
      out.plan = make_plan(out.graph, opt, options_, kernels_, out.lines, gpu_ ? &*gpu_ : nullptr,
                           orders, &out.free, &packed);
      add_profiles(out.plan, imported_, options_.profiles);
      if (gpu_) choose_gpu_kernels(out.plan, *gpu_, kernels_);
      return out;
    };
    Built built = lay_out_plan(std::move(graph), {});
    std::vector<std::string> tuning;
    if (options_.tune && !options_.deterministic) {
      if (!gpu_) {
        CpuTuning device(kernels_, workers_);
        built = tuned(device, fused, std::move(built), lay_out_plan, tuning);
      } else if (gpu_->machine.device >= 0) {
        GpuTuning device(built.plan, *gpu_, kernels_, *compiler_);
        built = tuned(device, fused, std::move(built), lay_out_plan, tuning);
      } else {
        tuning.push_back(fmt::format(
            "not tuned: no device of {} is here; kernels and tiles are chosen by a model",
            gpu_->machine.architecture()));
      }
    }
    if (gpu_) add_gpu_code(built.plan, *gpu_, kernels_, *compiler_);
    graph = std::move(built.graph);
    report_.nodes_after = graph.node_count();
    std::move(built.lines.begin(), built.lines.end(), std::back_inserter(report_.lines));
    count_kernels(built.plan, report_);
    for (std::string& line : account_of_attentions(imported_, graph, built.taken_apart))
      report_.lines.push_back(std::move(line));
    std::move(tuning.begin(), tuning.end(), std::back_inserter(report_.lines));
    if (gpu_) report_.lines.push_back(account_of_libraries(built.plan, *gpu_));
    return std::move(built.plan);
  }

  // Kernels, then forms and axis orders, or on a GPU what the whole plan says, by time on the
  // device.
  template <typename Make>
  Built tuned(TuningDevice& device, const ir::Graph& fused, Built built, const Make& make,
              std::vector<std::string>& account) {
    using Clock = std::chrono::steady_clock;
    const Clock::time_point start = Clock::now();
    const auto left = [&] {
      const double spent = std::chrono::duration<double>(Clock::now() - start).count();
      return std::max(options_.budget_seconds - spent, 0.0);
    };
    const auto progress = [&](double done) {
      tell("tuning", kPassesDone + done * (kTuningDone - kPassesDone));
    };
    // On a GPU choices that rows of launches mislead are put right by the whole plan's times.
    const double share = gpu_ ? kShareOfRows : 1;
    tune(built.plan, device,
         {.budget_seconds = share * options_.budget_seconds, .progress = progress}, cache_,
         account);
    cache_.save();
    if (gpu_) {  // forms are not compared: see docs/tuning.md
      tell("whole plan", kTuningDone);
      GpuPlanStand stand(*gpu_, kernels_, *compiler_);
      judge_in_plan(built.plan, device, stand, {.budget_seconds = left(), .progress = {}}, cache_,
                    account);
      cache_.save();
      return built;
    }
    tell("other forms", kTuningDone);
    built = search(fused.clone(), std::move(built),
                   {.disabled_passes = options_.disabled_passes,
                    .make = make,
                    .compare = [&](const Plan& first, Plan& second) {
                      return compare_plans(first, second, device,
                                           {.budget_seconds = left(), .progress = {}}, cache_);
                    }});
    cache_.save();
    return built;
  }

  void switch_off(Blame blame) {
    // Blame is found by running steps one by one, where no launch is a joint one.
    if (blame.kind == Blame::Kind::nothing && gpu_ && !kernels_.off.contains(kJointKernel))
      blame = {Blame::Kind::kernel, kJointKernel, "no step by itself differs"};
    require(
        blame.kind != Blame::Kind::nothing, Code::accuracy,
        "the plan differs from the reference{}{}; no plan is written: {}--verify off writes one "
        "unchecked",
        failures(report_), told(),
        options_.storage != DType::f32 || options_.tf32
            ? "build in float32 (without --fp16, --bf16, --tf32), or accept the error: "
            : "");
    if (blame.kind == Blame::Kind::kernel)
      kernels_.off.insert(blame.name);
    else
      options_.disabled_passes.push_back(blame.name);
    switched_off_.push_back(fmt::format("switched off: {} '{}', because {}",
                                        blame.kind == Blame::Kind::kernel ? "kernel" : "pass",
                                        blame.name, blame.why));
    log_warning("{}", switched_off_.back());
  }
  std::string told() const {
    std::string out;
    for (const std::string& line : switched_off_) out += "; " + line;
    return out;
  }

  Plan finished(Plan plan) {
    if (gpu_)
      for (std::string& line : account_of_host_steps(plan, !options_.deterministic))
        report_.lines.push_back(std::move(line));
    report_.unverified = unverified_;
    plan.account = report_.lines;
    if (!unverified_.empty()) plan.account.push_back("not verified: " + unverified_);
    if (options_.keep_source)
      plan.source_graph = ir::print(imported_, kLargestInText, &plan.source_constants);
    return plan;
  }

  const ir::Graph& imported_;
  BuildOptions options_;
  BuildReport& report_;
  int workers_;
  std::optional<GpuTarget> gpu_;
  std::optional<CodeCompiler> compiler_;  // of a GPU build
  TimingCache cache_;
  KernelSet kernels_;
  std::span<const passes::Pass> passes_;
  References references_;
  std::vector<std::string> switched_off_;
  std::string unverified_;  // why, for the account; empty: it is verified, or need not be
};

}  // namespace

Plan build_plan(const ir::Graph& imported, const BuildOptions& options, BuildReport& report,
                const KernelSet& kernels, std::span<const passes::Pass> passes) {
  return Build(imported, options, report, kernels, passes).run();
}

}  // namespace vitrail
