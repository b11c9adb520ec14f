// SPDX-License-Identifier: Apache-2.0
// vitrail trace model.vitrail|model.onnx
#include <fmt/core.h>
#include <CLI/CLI.hpp>

#include "tools/cli.h"
#include "tools/inputs.h"
#include "tools/trace_report.h"
#include "vitrail/builder.h"
#include "vitrail/file.h"

namespace vitrail::cli {
namespace {

struct Options {
  std::string model, inputs, json, chrome, profile, device = "cuda";
  std::vector<std::string> shapes;
  int threads = 0;
  TraceOptions trace;
  TraceTextOptions text;
  bool again = false;
};

void run(const Options& o) {
  const auto [plan, inputs] = load_to_run(o.model, o.inputs, o.shapes, o.threads);
  Session session(plan, {.device = o.device, .threads = o.threads});
  set_inputs(session, inputs);
  Trace trace = session.trace(o.trace);
  hold_against(trace, measure_machine({.device = trace.on_device ? o.device : "cpu",
                                       .threads = session.threads(),
                                       .cache_folder = default_cache(),
                                       .again = o.again}));
  fmt::print("{}", trace_text(trace, o.text));
  if (!o.json.empty()) write_atomically(o.json, trace_json(trace, o.text.depth));
  if (!o.chrome.empty()) write_atomically(o.chrome, trace_events(trace));
  if (!o.profile.empty()) write_atomically(o.profile, trace_profile(trace));
}

}  // namespace

void add_trace(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* trace = app.add_subcommand("trace", "where the time of a plan or ONNX model goes");
  trace->add_option("model,--loadEngine,--onnx", o->model, "plan or ONNX file")->required();
  trace->add_option("--inputs,--load-inputs", o->inputs,
                    "tensors by name (.npz); without it random ones");
  trace->add_option("--shapes", o->shapes, "INPUT:DIMS to run at");
  trace->add_option("--threads", o->threads, "workers; 0: one per processor")
      ->check(CLI::Range(0, 1024));
  trace->add_option("--warmUp,--warmup", o->trace.warmup_ms, "milliseconds")
      ->check(CLI::Range(0.0, 3.6e6))
      ->capture_default_str();
  trace->add_option("--duration", o->trace.seconds, "seconds of runs, at least")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  trace->add_option("--iterations", o->trace.iterations, "runs, at least")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  trace
      ->add_option("--rounds", o->trace.rounds,
                   "GPU: rounds of the chain's measurement; 0: some 5 seconds of them")
      ->check(CLI::Range(0, 1000));
  trace->add_option("--top", o->text.top, "only so many steps, the longest first")
      ->check(CLI::Range(1, 1000000));
  trace->add_option("--depth", o->text.depth, "also times by module, to this depth of names")
      ->check(CLI::Range(1, 100));
  trace->add_option("--json", o->json, "file for everything");
  trace->add_option("--chrome", o->chrome, "file for a time line (Perfetto, chrome://tracing)");
  trace->add_option("--exportProfile", o->profile, "file for the steps' times, as trtexec's");
  trace->add_flag("--remeasure", o->again, "measure the machine even when it is known");
  add_device(*trace, o->device);
  trace->callback([o] { run(*o); });
}

}  // namespace vitrail::cli
