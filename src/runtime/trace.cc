// SPDX-License-Identifier: Apache-2.0
#include "runtime/trace.h"

#include <algorithm>
#include <numeric>

#include "backends/nvtx.h"
#include "base/error.h"
#include "kernels/work.h"

namespace vitrail {
namespace {
using Clock = std::chrono::steady_clock;
constexpr size_t kMostRuns = 10000;

double since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

const char* kind_of(const Step& step) {
  constexpr const char* kNames[] = {"launch", "host", "branch", "loop"};
  return kNames[static_cast<size_t>(step.kind)];
}

/// The plan's steps, depth first, and which step each lies in (-1: none).
struct Outline {
  std::vector<TracedStep> steps;
  std::vector<int> parents;

  void add(const Block& block, const std::string& path, int parent) {
    for (const Step& step : block) {
      const int index = static_cast<int>(steps.size());
      TracedStep& out = steps.emplace_back();
      out.index = index;
      out.path = path;
      out.name = step.name;
      out.kind = kind_of(step);
      out.sources = step.sources;
      if (step.kind == Step::Kind::launch) {
        out.family = step.problem.family;
        out.units = name_of(units_of(step.problem));
      } else if (step.kind == Step::Kind::host) {
        out.family = step.op;
      }
      parents.push_back(parent);
      for (size_t b = 0; b < step.blocks.size(); ++b) {
        const char* what = step.kind == Step::Kind::loop ? "loop" : b == 0 ? "if" : "unless";
        add(step.blocks[b], fmt::format("{}{} '{}'/", path, what, step.name), index);
      }
    }
  }
};

/// One run's executions of steps.
struct Run {
  std::vector<double> sums;  // by step; branches and loops without what is inside
  std::vector<int64_t> counts;
  std::vector<TracedCall> calls;
};

class Tracer {
 public:
  Tracer(Executor& executor, const TraceOptions& options) : executor_(executor), options_(options) {
    outline_.add(executor.plan().steps, "", -1);
  }

  Trace run() {
    describe();
    warm_up();
    if (executor_.on_device()) out_.stamp = executor_.stamp_microseconds();
    time_runs();
    if (nvtx::attached()) run_step_by_step();
    show_run();
    if (executor_.on_device()) time_chain();
    finish();
    return std::move(out_);
  }

 private:
  void describe() {
    const Plan& plan = executor_.plan();
    out_.model = plan.model_name;
    out_.target = plan.target;
    out_.on_device = executor_.on_device();
    out_.device = executor_.gpu()
                      ? executor_.gpu()->model
                      : fmt::format("{}, {}", this_machine().model, name_of(this_machine().isa));
    out_.threads = executor_.threads();
    out_.steps = outline_.steps;
  }

  void warm_up() {
    const auto start = Clock::now();
    do executor_.run();
    while (since(start) < 1e3 * options_.warmup_ms);
    const Plan& plan = executor_.plan();
    for (const PlanTensorInfo& in : plan.inputs)
      out_.inputs[in.name] = eval(plan.values[in.value].dims, executor_.symbols());
  }

  /// Traced runs and untouched ones in turn.
  void time_runs() {
    std::vector<double> untouched, traced, gaps;
    const auto start = Clock::now();
    (void)traced_run(nullptr);  // records the stamped graphs
    while (samples_.size() < kMostRuns &&
           (samples_.size() < static_cast<size_t>(options_.iterations) ||
            since(start) < 1e6 * options_.seconds)) {
      const auto first = Clock::now();
      executor_.run();
      untouched.push_back(since(first));
      const auto second = Clock::now();
      samples_.push_back(traced_run(nullptr).sums);
      traced.push_back(since(second));
      const std::vector<double>& sums = samples_.back();
      gaps.push_back(traced.back() - std::accumulate(sums.begin(), sums.end(), 0.0));
    }
    out_.runs = static_cast<int>(samples_.size());
    out_.run = spread_of(untouched);
    out_.traced_run = spread_of(traced);
    out_.gaps = spread_of(gaps);
  }

  /// For a profiler: every step by itself in its range, which a recorded graph does not show.
  void run_step_by_step() {
    const nvtx::Range range("one by one");
    RunHooks hooks;
    hooks.trace = [](const StepTime&) {};
    executor_.run(hooks);
  }

  /// With `work`, also asks each launch for its bytes and FLOP, and workers for their times.
  Run traced_run(std::vector<TracedStep>* work) {
    const size_t count = outline_.steps.size();
    Run out{std::vector<double>(count), std::vector<int64_t>(count), {}};
    RunHooks hooks;
    hooks.in_graph = true;
    hooks.workers = work != nullptr;
    hooks.trace = [&](const StepTime& t) {
      const auto i = static_cast<size_t>(t.index);
      // A stamped step contains the stamp itself.
      const double took = t.step->kind == Step::Kind::launch
                              ? std::max(0.0, t.microseconds - out_.stamp)
                              : t.microseconds;
      out.sums[i] += took;
      ++out.counts[i];
      if (outline_.parents[i] >= 0)
        out.sums[static_cast<size_t>(outline_.parents[i])] -= t.microseconds;
      if (!work) return;
      out.calls.push_back({t.index, t.start, took});
      look((*work)[i], t);
    };
    executor_.run(hooks);
    return out;
  }

  void look(TracedStep& step, const StepTime& t) const {
    step.kernel = t.kernel;
    const BoundStep* bound = executor_.bound_step(t.index);
    if (t.step->kind != Step::Kind::launch || !bound) return;
    const Work work = work_of(bound->problem);
    step.read_bytes += work.read;
    step.written_bytes += work.written;
    step.flop += work.flop;
    if (bound->choice) {
      step.tactic = to_string(bound->choice->tactic);
      step.launches = static_cast<int>(bound->device.size());
    } else {
      step.launches = static_cast<int>(std::max<size_t>(1, bound->launch.phase_ends.size()));
    }
    for (size_t w = 0; w < t.workers.size(); ++w)
      if (t.workers[w].tasks > 0)
        step.workers.push_back({static_cast<int>(w), t.workers[w].start, t.workers[w].end,
                                t.workers[w].busy, t.workers[w].tasks});
  }

  /// Of several, the run that took the median time is the one shown.
  void show_run() {
    constexpr size_t kRuns = 5;
    struct Shown {
      double took;
      Run run;
      std::vector<TracedStep> steps;
    };
    std::vector<Shown> runs;
    for (size_t i = 0; i < kRuns; ++i) {
      Shown& shown = runs.emplace_back(Shown{0, {}, out_.steps});
      const auto start = Clock::now();
      shown.run = traced_run(&shown.steps);
      shown.took = since(start);
    }
    std::sort(runs.begin(), runs.end(),
              [](const Shown& a, const Shown& b) { return a.took < b.took; });
    Shown& median = runs[kRuns / 2];
    out_.steps = std::move(median.steps);
    out_.calls = std::move(median.run.calls);
    std::stable_sort(out_.calls.begin(), out_.calls.end(),
                     [](const TracedCall& a, const TracedCall& b) { return a.start < b.start; });
    for (size_t i = 0; i < out_.steps.size(); ++i) out_.steps[i].calls = median.run.counts[i];
    for (auto call = out_.calls.rbegin(); call != out_.calls.rend(); ++call)
      out_.steps[static_cast<size_t>(call->step)].start = call->start;
    for (size_t i = 0; i < out_.steps.size(); ++i) {
      std::vector<double> values;
      for (const auto& sample : samples_) values.push_back(sample[i]);
      out_.steps[i].microseconds = spread_of(std::move(values));
      out_.steps[i].alone = out_.on_device ? out_.steps[i].microseconds.median : 0;
      out_.alone_sum += out_.steps[i].alone;
    }
  }

  /// Where the plan is one chain of launches on the device.
  void time_chain() {
    const auto chained = [](const TracedStep& s) { return s.kind == "launch" && s.path.empty(); };
    if (!executor_.one_graph() || !std::all_of(out_.steps.begin(), out_.steps.end(), chained))
      return;
    const Executor::ChainTimes times = executor_.time_chain(rounds());
    double end = 0;
    for (size_t i = 0; i < times.steps.size(); ++i) {
      TracedStep& step = out_.steps[static_cast<size_t>(times.steps[i])];
      step.microseconds = spread_of(times.each[i]);
      step.start = end;
      end += std::max(0.0, step.microseconds.median);
    }
    out_.chain = spread_of(times.whole);
    constexpr int kRounds = 30, kReplays = 10;
    out_.graph = spread_of(executor_.time_device(kRounds, kReplays));
    out_.chained = true;
  }

  int rounds() const {
    if (options_.rounds > 0) return options_.rounds;
    constexpr double kLeast = 3, kMost = 40;
    const double round = std::max(1.0, out_.run.median) *
                         static_cast<double>(std::max<size_t>(1, out_.steps.size()));
    return static_cast<int>(std::clamp(1e6 * options_.chain_seconds / round, kLeast, kMost));
  }

  void finish() {
    for (const TracedStep& s : out_.steps) out_.steps_sum += s.microseconds.median;
    for (TracedStep& s : out_.steps)
      s.share = out_.steps_sum > 0 ? s.microseconds.median / out_.steps_sum : 0;
  }

  Executor& executor_;
  const TraceOptions& options_;
  Outline outline_;
  Trace out_;
  std::vector<std::vector<double>> samples_;  // by run, then step
};

std::vector<std::string> parts_of(const std::string& name) {
  std::vector<std::string> out;
  std::string part;
  for (const char c : name + "/") {
    if (c != '/' && c != '.') {
      part += c;
      continue;
    }
    if (!part.empty()) out.push_back(part);
    part.clear();
  }
  return out;
}

}  // namespace

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto at = [&](double part) {
    const double position = part * static_cast<double>(values.size() - 1);
    const auto below = static_cast<size_t>(position);
    const size_t above = std::min(below + 1, values.size() - 1);
    return values[below] +
           (position - static_cast<double>(below)) * (values[above] - values[below]);
  };
  return {at(0.5), at(0.25), at(0.75)};
}

Trace trace_runs(Executor& executor, const TraceOptions& options) {
  return Tracer(executor, options).run();
}

std::string shared_path(const std::vector<std::string>& names, int depth) {
  std::vector<std::vector<std::string>> paths;
  for (const std::string& name : names) {
    auto parts = parts_of(name);
    // "Transpose.8" is a number given by an exporter or a pass, not a path.
    const bool numbered =
        parts.size() == 2 && parts[1].find_first_not_of("0123456789") == std::string::npos;
    if (parts.size() > 1 && !numbered) paths.push_back(std::move(parts));
  }
  if (paths.empty()) return names.size() == 1 ? names[0] : "";
  std::string out;
  for (size_t i = 0; i < static_cast<size_t>(depth) && i < paths[0].size(); ++i) {
    for (const auto& path : paths)
      if (i >= path.size() || path[i] != paths[0][i]) return out;
    out += (out.empty() ? "" : ".") + paths[0][i];
  }
  return out;
}

std::vector<TracedModule> by_module(const Trace& trace, int depth) {
  std::vector<TracedModule> out;
  for (const TracedStep& s : trace.steps) {
    const std::string module = shared_path(s.sources, depth);
    auto at = std::find_if(out.begin(), out.end(),
                           [&](const TracedModule& m) { return m.module == module; });
    if (at == out.end()) at = out.insert(out.end(), TracedModule{module, 0, 0, 0});
    ++at->steps;
    at->microseconds += s.microseconds.median;
    at->share += s.share;
  }
  return out;
}

void hold_against(Trace& trace, const MachineSpeed& machine) {
  trace.machine = machine;
  for (TracedStep& s : trace.steps) {
    if (s.calls == 0 || s.kind != "launch") continue;
    const double calls = static_cast<double>(s.calls), bytes = s.read_bytes + s.written_bytes;
    const bool cached = machine.cache_gbs > 0 && bytes / calls <= machine.cache_bytes / 2;
    const double bandwidth = cached ? machine.cache_gbs : machine.memory_gbs;
    const auto found = machine.gflops.find(s.units);
    const double rate = found == machine.gflops.end() ? 0 : found->second;
    // Bytes over GB/s and FLOP over GFLOP/s are nanoseconds.
    const double moving = bandwidth > 0 ? 1e-3 * bytes / bandwidth : 0;
    const double computing = rate > 0 ? 1e-3 * s.flop / rate : 0;
    const double launching = machine.launch_us * calls * s.launches;
    s.floor = std::max({moving, computing, launching});
    s.ceiling = s.floor == 0           ? ""
                : launching == s.floor ? "launch"
                : computing == s.floor ? "compute"
                : cached               ? "cache"
                                       : "memory";
    constexpr double kExplains = 0.25;
    s.bound = s.floor >= kExplains * s.microseconds.median ? s.ceiling : "latency";
    s.roofline =
        s.microseconds.median > 0 ? std::max(moving, computing) / s.microseconds.median : 0;
  }
}

}  // namespace vitrail
