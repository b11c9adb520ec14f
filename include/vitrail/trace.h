// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "vitrail/session.h"
#include "vitrail/tensor.h"

/// Where the time of a plan goes. What the figures mean: docs/trace.md.
///
///     vitrail::Session session(plan);
///     session.set_input("input", vitrail::DType::f32, {1, 3, 224, 224}, pixels);
///     vitrail::Trace trace = session.trace({.iterations = 20});
///     vitrail::hold_against(trace, vitrail::measure_machine({}));
namespace vitrail {

struct TraceOptions {
  int iterations = 10;       ///< runs at least
  double seconds = 1;        ///< of runs, at least
  double warmup_ms = 200;    ///< before anything is timed
  int rounds = 0;            ///< GPU: of the chain's measurement; 0: by chain_seconds
  double chain_seconds = 5;  ///< GPU: for which 3 to 40 rounds are taken
};

/// Median and quartiles over the runs.
struct Spread {
  double median = 0, low = 0, high = 0;
};

/// What one worker did of a step in the run shown; microseconds since that run began.
struct TracedWorker {
  int worker = 0;
  double start = 0, end = 0, busy = 0;
  int64_t tasks = 0;
};

/// A step of the plan. Times, bytes and FLOP are of all its calls of a run together, bytes and FLOP
/// those of the last run. For a branch or loop the time is what it takes beyond the steps inside.
struct TracedStep {
  int index = 0;     ///< depth first in the plan
  std::string path;  ///< of steps inside branches and loops: "loop 'name'/"; otherwise empty
  std::string name, kind, family, kernel, tactic;  ///< kind: launch, host, branch or loop
  std::vector<std::string> sources;                ///< nodes of the model it stands for
  int64_t calls = 0;                               ///< in a run
  int launches = 0;                                ///< kernels a call starts
  Spread microseconds;  ///< CPU: as run; GPU: in the chain where there is one, otherwise alone
  double alone = 0;     ///< GPU: without overlap with its neighbours
  double start = 0;     ///< of its first call in the run shown
  double share = 0;     ///< of the sum over the steps
  double read_bytes = 0, written_bytes = 0, flop = 0;
  std::string units;  ///< vector, float32, tf32, float16 or bfloat16: what bounds its FLOP
  std::vector<TracedWorker> workers;
  // Set by hold_against():
  double floor = 0;     ///< least microseconds on this machine, launches included
  double roofline = 0;  ///< least microseconds without launches, over the measured ones
  std::string ceiling;  ///< what the floor comes from: compute, memory, cache or launch
  std::string bound;    ///< the ceiling where it explains a quarter of the time; else latency
};

/// One execution of a step in the run shown.
struct TracedCall {
  int step = 0;  ///< position in Trace::steps
  double start = 0, microseconds = 0;
};

/// What a machine can do, measured. Rates are 0 where there is none.
struct MachineSpeed {
  std::string name;
  double memory_gbs = 0;  ///< read and written
  double cache_gbs = 0;   ///< last-level cache
  double cache_bytes = 0;
  double launch_us = 0;                  ///< of an empty step in a chain
  std::map<std::string, double> gflops;  ///< by TracedStep::units
};

struct MachineOptions {
  std::string device = "cpu";  ///< "cpu", "cuda" or "cuda:N"
  int threads = 0;             ///< CPU: that work together; 0: every processor
  /// Folder whose machine.json keeps the figures; empty: measured each time.
  std::string cache_folder;
  bool again = false;  ///< measure even when they are known
};
/// Takes about a second. Throws Error(resource) without a device or memory. A damaged file, or one
/// that cannot be written, is a warning.
MachineSpeed measure_machine(const MachineOptions& options);

struct Trace {
  std::string model, target, device;
  int threads = 0;
  std::map<std::string, Dims> inputs;
  int runs = 0;
  bool on_device = false, chained = false;  ///< chained: steps were timed in the chain
  Spread run;                               ///< microseconds of an untouched run
  Spread traced_run;                        ///< CPU: of a run with the clock between the steps
  Spread gaps;           ///< of a traced run: what lies between, before and after its steps
  double steps_sum = 0;  ///< of TracedStep::microseconds
  double alone_sum = 0;  ///< GPU
  Spread graph;          ///< GPU, chained: the untouched graph, back to back
  Spread chain;          ///< GPU, chained: the graph from its start to its end
  double stamp = 0;      ///< GPU: two stamps with nothing between
  std::vector<TracedStep> steps;
  std::vector<TracedCall> calls;  ///< of the run shown, in order of time
  MachineSpeed machine;
};

/// Fills floor, roofline and bound of every step, and Trace::machine.
void hold_against(Trace& trace, const MachineSpeed& machine);

/// Times by module of the model: the first `depth` parts of the path that all sources of a step
/// share. A step is never divided.
struct TracedModule {
  std::string module;  ///< empty: sources that share no path
  int steps = 0;
  double microseconds = 0, share = 0;
};
std::vector<TracedModule> by_module(const Trace& trace, int depth);

}  // namespace vitrail
