// SPDX-License-Identifier: Apache-2.0
#include "tools/trace_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tools/cli.h"

namespace vitrail::cli {
namespace {
using Json = nlohmann::ordered_json;
constexpr double kMega = 1e6;

double bytes_of(const TracedStep& s) { return s.read_bytes + s.written_bytes; }
// Per microsecond: bytes to GB/s, FLOP to GFLOP/s.
double rate(double amount, const TracedStep& s) {
  return s.microseconds.median > 0 ? 1e-3 * amount / s.microseconds.median : 0;
}
std::string label(const TracedStep& s) { return s.path + s.name; }

std::string head(const Trace& t) {
  std::string inputs;
  for (const auto& [name, dims] : t.inputs)
    inputs += fmt::format("{}{} {}", inputs.empty() ? "" : ", ", printable(name), dims_text(dims));
  std::string out = fmt::format(
      "trace of '{}' for {} on {}{}; {}; {} runs\n", printable(t.model), t.target, t.device,
      t.on_device ? "" : fmt::format(", {} threads", t.threads), inputs, t.runs);
  const MachineSpeed& m = t.machine;
  if (m.name.empty()) return out;
  out += fmt::format("machine: memory {:.0f} GB/s, cache {:.0f} GB/s (of {:.0f} MiB)", m.memory_gbs,
                     m.cache_gbs, m.cache_bytes / 1048576);
  for (const auto& [units, gflops] : m.gflops)
    out += gflops < 1000 ? fmt::format(", {} {:.0f} GFLOP/s", units, gflops)
                         : fmt::format(", {} {:.1f} TFLOP/s", units, gflops / 1000);
  return out + fmt::format(", launch {:.2f} us\n", m.launch_us);
}

std::string line(const TracedStep& s, const Trace& t) {
  const double half = (s.microseconds.high - s.microseconds.low) / 2;
  std::string out = fmt::format("{:4} {:9.1f} {:6.1f} {:5.1f}", s.index, s.microseconds.median,
                                half, 100 * s.share);
  if (t.on_device) out += fmt::format(" {:9.1f}", s.alone);
  if (s.kind == "launch") {
    out += fmt::format(" {:8.2f} {:8.1f} {:7.1f} {:7.0f} {:8.0f}", bytes_of(s) / kMega,
                       s.flop / kMega, bytes_of(s) > 0 ? s.flop / bytes_of(s) : 0,
                       rate(bytes_of(s), s), rate(s.flop, s));
    out += s.bound.empty() ? fmt::format(" {:>5} {:<7}", "-", "-")
                           : fmt::format(" {:5.0f} {:<7}", 100 * s.roofline, s.bound);
  } else {
    out += fmt::format(" {:>8} {:>8} {:>7} {:>7} {:>8} {:>5} {:<7}", "-", "-", "-", "-", "-", "-",
                       s.kind);
  }
  out += fmt::format("  {}", s.kernel.empty() ? s.kind : s.kernel);
  if (!s.tactic.empty()) out += fmt::format("({})", s.tactic);
  if (s.calls != 1) out += fmt::format(" x {}", s.calls);
  out += fmt::format("  {}", printable(label(s)));
  if (!s.sources.empty()) {
    out += fmt::format("  <- {}", printable(s.sources[0]));
    if (s.sources.size() > 1) out += fmt::format(" and {} more", s.sources.size() - 1);
  }
  return out + "\n";
}

std::string totals(const Trace& t) {
  std::string out;
  const auto add = [&](const char* what, double us) {
    out += fmt::format("{:<44} {:10.1f} us\n", what, us);
  };
  if (t.chained) {
    add("steps alone", t.alone_sum);
    add("saved by overlap", t.steps_sum - t.alone_sum);
    add("steps in the chain", t.steps_sum);
    add("the graph, from its start to its end", t.chain.median);
    add("the untouched graph, back to back", t.graph.median);
    add("  beyond the steps (its start, noise)", t.graph.median - t.steps_sum);
    add("an untouched run with its copies", t.run.median);
    return out;
  }
  add(t.on_device ? "sum of the steps, alone" : "sum of the steps", t.steps_sum);
  add(t.on_device ? "copies, the host, gaps" : "gaps around them", t.gaps.median);
  add("beyond these medians: interruptions", t.traced_run.median - t.steps_sum - t.gaps.median);
  add("a traced run", t.traced_run.median);
  add("an untouched run", t.run.median);
  return out;
}

Json to_json(const Spread& s) { return {{"median", s.median}, {"low", s.low}, {"high", s.high}}; }

Json step_json(const TracedStep& s) {
  Json out{{"index", s.index},
           {"path", s.path},
           {"name", s.name},
           {"kind", s.kind},
           {"family", s.family},
           {"kernel", s.kernel},
           {"tactic", s.tactic},
           {"sources", s.sources},
           {"calls", s.calls},
           {"launches", s.launches},
           {"us", to_json(s.microseconds)},
           {"alone_us", s.alone},
           {"share", s.share},
           {"start_us", s.start},
           {"read_bytes", s.read_bytes},
           {"written_bytes", s.written_bytes},
           {"flop", s.flop},
           {"units", s.units},
           {"intensity", bytes_of(s) > 0 ? s.flop / bytes_of(s) : 0},
           {"gbs", rate(bytes_of(s), s)},
           {"gflops", rate(s.flop, s)},
           {"floor_us", s.floor},
           {"roofline", s.roofline},
           {"ceiling", s.ceiling},
           {"bound", s.bound}};
  if (!s.workers.empty()) out["workers"] = Json::array();
  for (const TracedWorker& w : s.workers)
    out["workers"].push_back({{"worker", w.worker},
                              {"start_us", w.start},
                              {"end_us", w.end},
                              {"busy_us", w.busy},
                              {"tasks", w.tasks}});
  return out;
}

std::string dump(const Json& j) {
  return j.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

// One event with a duration. Chrome's times are microseconds.
Json event(const std::string& name, int process, int thread, double start, double us, Json args) {
  return {{"name", name}, {"ph", "X"}, {"pid", process},         {"tid", thread},
          {"ts", start},  {"dur", us}, {"args", std::move(args)}};
}
// No step can do more than the machine, but a busy machine measures less than it can do.
std::string doubts(const Trace& t) {
  constexpr double kScatter = 1.25;
  const auto beyond = std::count_if(t.steps.begin(), t.steps.end(),
                                    [](const TracedStep& s) { return s.roofline > kScatter; });
  if (beyond == 0) return "";
  return fmt::format(
      "{} step(s) did more than the machine when it was measured, so it was busy then: --remeasure "
      "when it is idle\n",
      beyond);
}
Json named(const char* what, int process, int thread, const std::string& name) {
  return {
      {"name", what}, {"ph", "M"}, {"pid", process}, {"tid", thread}, {"args", {{"name", name}}}};
}

}  // namespace

std::string trace_text(const Trace& t, const TraceTextOptions& options) {
  std::string out = head(t);
  out += fmt::format("{:>4} {:>9} {:>6} {:>5}{} {:>8} {:>8} {:>7} {:>7} {:>8} {:>5} {:<7}  {}\n",
                     "#", "us", "+-", "%", t.on_device ? fmt::format(" {:>9}", "alone") : "", "MB",
                     "MFLOP", "FLOP/B", "GB/s", "GFLOP/s", "roof%", "bound",
                     "kernel(tactic)  step  <- nodes of the model");
  std::vector<const TracedStep*> steps;
  for (const TracedStep& s : t.steps) steps.push_back(&s);
  if (options.top > 0) {
    std::stable_sort(steps.begin(), steps.end(), [](const TracedStep* a, const TracedStep* b) {
      return a->microseconds.median > b->microseconds.median;
    });
    steps.resize(std::min(steps.size(), static_cast<size_t>(options.top)));
  }
  for (const TracedStep* s : steps) out += line(*s, t);
  if (steps.size() < t.steps.size())
    out += fmt::format("... {} more steps\n", t.steps.size() - steps.size());
  struct Sum {
    int steps = 0;
    double us = 0, floor = 0;
  };
  std::map<std::string, Sum> kernels;
  for (const TracedStep& s : t.steps) {
    Sum& sum = kernels[s.kernel.empty() ? s.kind : s.kernel];
    ++sum.steps;
    sum.us += s.microseconds.median;
    sum.floor += s.floor;
  }
  std::vector<std::pair<std::string, Sum>> sorted(kernels.begin(), kernels.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second.us > b.second.us; });
  out +=
      fmt::format("{:>5} {:>10} {:>6} {:>10}  {}\n", "steps", "us", "%", "least us", "by kernel");
  for (const auto& [kernel, sum] : sorted)
    out += fmt::format("{:5} {:10.1f} {:6.1f} {:10.1f}  {}\n", sum.steps, sum.us,
                       t.steps_sum > 0 ? 100 * sum.us / t.steps_sum : 0, sum.floor, kernel);
  if (options.depth > 0) {
    out += fmt::format("{:>5} {:>10} {:>6}  {}\n", "steps", "us", "%", "by module");
    for (const TracedModule& m : by_module(t, options.depth))
      out += fmt::format("{:5} {:10.1f} {:6.1f}  {}\n", m.steps, m.microseconds, 100 * m.share,
                         m.module.empty() ? "(several)" : printable(m.module));
  }
  return out + totals(t) + doubts(t);
}

std::string trace_json(const Trace& t, int depth) {
  Json out{{"vitrail_trace", 1}, {"model", t.model},     {"target", t.target},
           {"device", t.device}, {"threads", t.threads}, {"inputs", t.inputs},
           {"runs", t.runs},     {"chained", t.chained}};
  const MachineSpeed& m = t.machine;
  out["machine"] = {{"name", m.name},           {"memory_gbs", m.memory_gbs},
                    {"cache_gbs", m.cache_gbs}, {"cache_bytes", m.cache_bytes},
                    {"launch_us", m.launch_us}, {"gflops", m.gflops}};
  Json totals{{"run_us", to_json(t.run)},
              {"traced_run_us", to_json(t.traced_run)},
              {"gaps_us", to_json(t.gaps)},
              {"steps_us", t.steps_sum}};
  if (t.on_device) totals["alone_us"] = t.alone_sum, totals["mark_us"] = t.stamp;
  if (t.chained) {
    totals["overlap_us"] = t.alone_sum - t.steps_sum;
    totals["chain_us"] = to_json(t.chain);
    totals["graph_us"] = to_json(t.graph);
  }
  out["totals"] = std::move(totals);
  out["steps"] = Json::array();
  for (const TracedStep& s : t.steps) out["steps"].push_back(step_json(s));
  if (depth > 0) {
    out["modules"] = Json::array();
    for (const TracedModule& module : by_module(t, depth))
      out["modules"].push_back({{"module", module.module},
                                {"steps", module.steps},
                                {"us", module.microseconds},
                                {"share", module.share}});
  }
  return dump(out);
}

std::string trace_events(const Trace& t) {
  constexpr int kProcess = 1;
  Json events = Json::array();
  events.push_back(named("process_name", kProcess, 0,
                         fmt::format("{} for {} on {}", t.model, t.target, t.device)));
  events.push_back(named("thread_name", kProcess, 0, t.on_device ? "steps alone" : "steps"));
  for (const TracedCall& call : t.calls) {
    const TracedStep& s = t.steps[static_cast<size_t>(call.step)];
    events.push_back(event(label(s), kProcess, 0, call.start, call.microseconds,
                           {{"kernel", s.kernel},
                            {"tactic", s.tactic},
                            {"sources", s.sources},
                            {"bound", s.bound},
                            {"roofline", s.roofline}}));
  }
  if (t.chained) {
    events.push_back(named("thread_name", kProcess, 1, "steps in the chain"));
    for (const TracedStep& s : t.steps)
      events.push_back(event(label(s), kProcess, 1, s.start, std::max(0.0, s.microseconds.median),
                             {{"kernel", s.kernel}}));
  }
  for (int w = 0; !t.on_device && w < t.threads; ++w)
    events.push_back(named("thread_name", kProcess, 100 + w, fmt::format("worker {}", w)));
  for (const TracedStep& s : t.steps)
    for (const TracedWorker& w : s.workers)
      events.push_back(event(label(s), kProcess, 100 + w.worker, w.start, w.end - w.start,
                             {{"busy_us", w.busy}, {"tasks", w.tasks}}));
  return dump({{"traceEvents", std::move(events)}, {"displayTimeUnit", "ns"}});
}

std::string trace_profile(const Trace& t) {
  Json out = Json::array({{{"count", t.runs}}});
  for (const TracedStep& s : t.steps) {
    const double ms = s.microseconds.median / 1000;
    out.push_back({{"name", label(s)},
                   {"timeMs", ms * t.runs},
                   {"averageMs", ms},
                   {"medianMs", ms},
                   {"percentage", 100 * s.share}});
  }
  return dump(out);
}

}  // namespace vitrail::cli
