// SPDX-License-Identifier: Apache-2.0
// vitrail bench model.vitrail
#include <fmt/core.h>
#include <sys/resource.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
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
  bool layers = false, separate = false;
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

// One stream: its own session; latencies in ms after the warm-up.
// `on_device`: where to put the times of the device alone, for a plan that runs on one.
std::vector<double> measure(const LoadedPlan& plan, const NamedTensors& inputs, const Options& o,
                            std::vector<double>* on_device = nullptr) {
  Session session(plan, {.device = o.device, .threads = o.threads});
  set_inputs(session, inputs);
  const auto warm = Clock::now();
  do session.run();
  while (ms_since(warm) < o.warmup_ms);
  std::vector<double> out;
  const auto start = Clock::now();
  while (ms_since(start) < o.seconds * 1000 || static_cast<int>(out.size()) < o.iterations) {
    const auto one = Clock::now();
    session.run();
    out.push_back(ms_since(one));
  }
  if (on_device && session.on_device()) {
    constexpr int kRounds = 30;
    *on_device = session.time_device(kRounds);
    for (double& t : *on_device) t /= 1000;
    std::sort(on_device->begin(), on_device->end());
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
  std::vector<std::vector<double>> streams(static_cast<size_t>(o.streams));
  const auto wall = Clock::now();
  std::vector<std::thread> threads;
  for (size_t i = 1; i < streams.size(); ++i)
    threads.emplace_back([&, i] { streams[i] = measure(plan, inputs, o); });
  std::vector<double> device;
  streams[0] = measure(plan, inputs, o, o.streams == 1 ? &device : nullptr);
  for (std::thread& t : threads) t.join();
  const double wall_s = ms_since(wall) / 1000;

  std::vector<double> all;
  for (const auto& s : streams) all.insert(all.end(), s.begin(), s.end());
  std::sort(all.begin(), all.end());
  const double mean =
      std::accumulate(all.begin(), all.end(), 0.0) / static_cast<double>(all.size());
  double qps = 0;
  for (const auto& s : streams)
    qps += 1000.0 * static_cast<double>(s.size()) / std::accumulate(s.begin(), s.end(), 0.0);
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
      "Total Host Walltime: {:.4g} s\n{}: {:.4g} ms, peak memory: {:.1f} MiB, {} iterations, {} "
      "stream(s)\n",
      wall_s, is_plan(o.model) ? "Load" : "Build and load", load_ms, peak_mib, all.size(),
      o.streams);
  if (!device.empty())
    fmt::print("GPU alone: min = {:.4g} ms, median = {:.4g} ms, percentile(99%) = {:.4g} ms\n",
               device.front(), percentile(device, 0.5), percentile(device, 0.99));
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
  add_device(*bench, o->device);
  bench->callback([o] { run(*o); });
}

}  // namespace vitrail::cli
