// SPDX-License-Identifier: Apache-2.0
// vitrail bench model.vitrail
#include <fmt/core.h>
#include <sys/resource.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <thread>

#include "tools/cli.h"
#include "tools/inputs.h"
#include "tools/trace_report.h"
#include "vitrail/file.h"
#include "vitrail/session.h"

namespace vitrail::cli {
namespace {

struct Options {
  std::string model, inputs, json, profile, device = "cuda";
  std::vector<std::string> shapes;
  int threads = 0, streams = 1, iterations = 10;
  bool layers = false, separate = false, pageable = false;
  double warmup_ms = 200, seconds = 3;
};

using Clock = std::chrono::steady_clock;
double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// trtexec's percentile: sorted[max(n - 1 - floor((1 - p) n), 0)].
double percentile(const std::vector<double>& sorted, double p) {
  const auto n = static_cast<double>(sorted.size());
  return sorted[static_cast<size_t>(std::max(n - 1 - std::floor((1 - p) * n), 0.0))];
}

// Copies of tensors where a run takes them by the shortest way.
NamedTensors in_memory_of(const Session& session, const NamedTensors& tensors) {
  NamedTensors out;
  for (const auto& [name, t] : tensors) {
    out.emplace_back(name, session.host_tensor(t.dtype(), t.dims()));
    if (t.bytes()) std::memcpy(out.back().second.mutable_raw(), t.raw(), t.bytes());
  }
  return out;
}

// Ordinary memory for every output of the run just made.
NamedTensors own_outputs(Session& session) {
  NamedTensors out;
  for (const TensorSpec& spec : session.plan().outputs()) {
    const TensorView view = session.output(spec.name);
    out.emplace_back(spec.name, Tensor(view.dtype, Dims(view.dims.begin(), view.dims.end())));
  }
  for (auto& [name, t] : out) session.set_output(name, t.mutable_raw(), t.bytes());
  return out;
}

// Of one stream, in ms.
struct Times {
  double first = 0;             // a session's making and its first run
  std::vector<double> latency;  // after the warm-up
  std::vector<double> device;   // of the device alone, sorted, where a plan runs on one
};

// One stream: its own session.
Times measure(const LoadedPlan& plan, const NamedTensors& given, const Options& o, bool device) {
  const auto begun = Clock::now();
  Session session(plan, {.device = o.device, .threads = o.threads});
  const NamedTensors inputs = o.pageable ? given : in_memory_of(session, given);
  set_inputs(session, inputs);
  session.run();
  Times out{.first = ms_since(begun), .latency = {}, .device = {}};
  const NamedTensors outputs = o.pageable ? own_outputs(session) : NamedTensors{};
  const auto warm = Clock::now();
  while (ms_since(warm) < o.warmup_ms) session.run();
  const auto start = Clock::now();
  while (ms_since(start) < o.seconds * 1000 ||
         static_cast<int>(out.latency.size()) < o.iterations) {
    const auto one = Clock::now();
    session.run();
    out.latency.push_back(ms_since(one));
  }
  if (device && session.on_device()) {
    constexpr int kRounds = 30;
    out.device = session.time_device(kRounds);
    for (double& t : out.device) t /= 1000;
    std::sort(out.device.begin(), out.device.end());
  }
  return out;
}

// trtexec's profile: runs of their own, after those that count.
void profile(const LoadedPlan& plan, const NamedTensors& inputs, const Options& o) {
  if (!o.layers && o.profile.empty()) return;
  Session session(plan, {.device = o.device, .threads = o.threads});
  set_inputs(session, inputs);
  const Trace trace = session.trace(
      {.iterations = o.iterations, .seconds = 0.2, .warmup_ms = o.warmup_ms, .chain_seconds = 1});
  if (o.layers) fmt::print("{}", trace_text(trace, {}));
  if (!o.profile.empty()) write_atomically(o.profile, trace_profile(trace));
}

void run(const Options& o) {
  const auto load = Clock::now();
  const auto [plan, inputs] = load_to_run(o.model, o.inputs, o.shapes, o.threads);
  const double load_ms = ms_since(load);
  std::vector<Times> streams(static_cast<size_t>(o.streams));
  const auto wall = Clock::now();
  std::vector<std::thread> threads;
  for (size_t i = 1; i < streams.size(); ++i)
    threads.emplace_back(
        [&, i, &p = plan, &in = inputs] { streams[i] = measure(p, in, o, false); });
  streams[0] = measure(plan, inputs, o, o.streams == 1);
  const std::vector<double>& device = streams[0].device;
  for (std::thread& t : threads) t.join();
  const double wall_s = ms_since(wall) / 1000;

  std::vector<double> all;
  for (const Times& s : streams) all.insert(all.end(), s.latency.begin(), s.latency.end());
  std::sort(all.begin(), all.end());
  const double mean =
      std::accumulate(all.begin(), all.end(), 0.0) / static_cast<double>(all.size());
  double qps = 0;
  for (const Times& s : streams)
    qps += 1000.0 * static_cast<double>(s.latency.size()) /
           std::accumulate(s.latency.begin(), s.latency.end(), 0.0);
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  const double peak_mib = static_cast<double>(use.ru_maxrss) / 1024;

  fmt::print("=== Performance summary ===\nThroughput: {:.4g} qps\n", qps);
  fmt::print(
      "Latency: min = {:.4g} ms, max = {:.4g} ms, mean = {:.4g} ms, median = {:.4g} ms, "
      "percentile(90%) = {:.4g} ms, percentile(95%) = {:.4g} ms, percentile(99%) = {:.4g} ms\n",
      all.front(), all.back(), mean, percentile(all, 0.5), percentile(all, 0.9),
      percentile(all, 0.95), percentile(all, 0.99));
  fmt::print(
      "Total Host Walltime: {:.4g} s\n{}: {:.4g} ms, to the first result: {:.4g} ms more, peak "
      "memory: {:.1f} MiB, {} iterations, {} stream(s)\n",
      wall_s, is_plan(o.model) ? "Load" : "Build and load", load_ms, streams[0].first, peak_mib,
      all.size(), o.streams);
  if (!device.empty())
    fmt::print(
        "GPU alone: min = {:.4g} ms, median = {:.4g} ms, percentile(99%) = {:.4g} ms; the latency "
        "above is from end to end, inputs and outputs in {} memory\n",
        device.front(), percentile(device, 0.5), percentile(device, 0.99),
        o.pageable ? "pageable" : "page-locked");
  profile(plan, inputs, o);
  if (o.json.empty()) return;
  nlohmann::ordered_json j{{"latency_ms",
                            {{"min", all.front()},
                             {"median", percentile(all, 0.5)},
                             {"mean", mean},
                             {"max", all.back()},
                             {"p90", percentile(all, 0.9)},
                             {"p95", percentile(all, 0.95)},
                             {"p99", percentile(all, 0.99)}}},
                           {"throughput_qps", qps},
                           {"load_ms", load_ms},
                           {"first_result_ms", streams[0].first},
                           {"peak_memory_mib", peak_mib},
                           {"iterations", all.size()},
                           {"streams", o.streams}};
  if (!device.empty())
    j["device_ms"] = {{"min", device.front()},
                      {"median", percentile(device, 0.5)},
                      {"p99", percentile(device, 0.99)}};
  write_atomically(o.json, j.dump(2) + "\n");
}

}  // namespace

void add_bench(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* bench = app.add_subcommand("bench", "time a plan or an ONNX model");
  bench->add_option("model,--loadEngine,--onnx", o->model, "plan or ONNX file")->required();
  bench->add_option("--inputs,--load-inputs", o->inputs,
                    "tensors by name (.npz); without it random ones");
  bench->add_option("--shapes", o->shapes, "INPUT:DIMS to run at");
  bench->add_option("--threads", o->threads, "workers of a stream; 0: one per processor")
      ->check(CLI::Range(0, 1024));
  bench->add_option("--streams,--infStreams", o->streams, "sessions at a time")
      ->check(CLI::Range(1, 64));
  bench->add_option("--warmUp,--warmup", o->warmup_ms, "milliseconds")
      ->check(CLI::Range(0.0, 3.6e6))
      ->capture_default_str();
  bench->add_option("--duration", o->seconds, "seconds, at least")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  bench->add_option("--iterations", o->iterations, "at least")
      ->check(CLI::Range(1, 100000000))
      ->capture_default_str();
  bench->add_option("--json", o->json, "file for the figures");
  bench->add_flag("--layers,--dumpProfile", o->layers,
                  "also time every step, as `vitrail trace` does");
  bench->add_option("--exportProfile", o->profile, "file for the steps' times, as trtexec's");
  bench->add_flag("--separateProfileRun", o->separate, "always so: accepted for trtexec's sake");
  bench->add_flag("--pageable", o->pageable,
                  "GPU: inputs and outputs in ordinary memory, not in page-locked");
  add_device(*bench, o->device);
  bench->callback([o] { run(*o); });
}

}  // namespace vitrail::cli
