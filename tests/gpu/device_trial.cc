// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu/device_trial.h"

#include <fmt/core.h>

#include <optional>

#include "base/error.h"
#include "compile/nvrtc.h"
#include "tests/gpu/limits.h"

namespace vitrail {
namespace {

constexpr int kPoison = 0xFF;
constexpr size_t kAlign = 256;

// A launch that lets its successor start at once and writes late.
Tensor delay_code(const std::string& architecture) {
  return compile_cuda(
             "extern \"C\" __global__ void late(char* to, const char* from, long long bytes) "
             "{\n#if __CUDA_ARCH__ >= 900\n"
             "  asm volatile(\"griddepcontrol.wait;\" ::: \"memory\");\n  asm "
             "volatile(\"griddepcontrol.launch_dependents;\" ::: \"memory\");\n#endif\n"
             "  for (int i = 0; i < 20; ++i) __nanosleep(1000);\n  for (long long i = "
             "threadIdx.x; i < bytes; i += 256) to[i] = from[i];\n}\n",
             architecture)
      .cubin;
}

uint64_t address(const std::byte* p) { return reinterpret_cast<uint64_t>(p); }

}  // namespace

void DeviceCase::prepare(const GpuMachine& machine) {
  try {
    code = kernel->generate(problem, tactic, machine);
    if (!code.source.empty()) cubin = compile_cuda(code.source, machine.architecture()).cubin;
    bound = vitrail::bind(problem, symbols);
    trial =
        std::make_unique<Trial>([&](const Problem& p, size_t i,
                                    const Tensor& dense) { return gpu_pack(*kernel, p, i, dense); },
                                bound, seed);
    expected = trial->empty_outputs();
    find_family(kernel->family)->reference(bound, trial->dense_inputs(), expected);
  } catch (const Error& e) {
    error = e.what();
  }
}

void DeviceCase::release() {
  trial.reset();
  expected.clear();
  cubin = {};
  code.source.clear();
}

DeviceTrials::DeviceTrials()
    : device_(cuda::Device::open(0)),
      stream_(device_),
      delay_(device_, delay_code(device_->machine().architecture()).raw()),
      machine_(device_->machine()) {
  machine_.device = 0;
  machine_.cublas_lt = cuda::library("cublasLt");
  machine_.cudnn = cuda::library("cudnn");
}

std::string DeviceTrials::run(DeviceCase& c, const Compare& compare) {
  if (!c.error.empty()) return c.error;
  device_->enter();
  for (const bool delayed : {false, true})
    if (std::string why = run(c, delayed, compare); !why.empty())
      return why + (delayed ? " (behind a late producer)" : "");
  return {};
}

std::string DeviceTrials::run(DeviceCase& c, bool delayed, const Compare& compare) {
  Trial& trial = *c.trial;
  trial.reset_outputs();
  std::vector<Place> places;
  std::vector<uint64_t> parameters;
  const auto place = [&](Trial::Region region, bool late) {
    Place& at = places.emplace_back();
    at.memory = std::make_unique<cuda::Memory>(device_);
    at.memory->reserve(region.bytes + 2 * kAlign, "a trial");
    // Aligned problems get their element 0 at a multiple of 256, others wherever the margin puts
    // it.
    at.start =
        at.memory->data() +
        (aligned(c.problem) ? (kAlign - static_cast<size_t>(region.first) % kAlign) % kAlign : 0);
    parameters.push_back(address(at.start + region.first));
    if (!late) {
      stream_.upload(at.start, region.data, region.bytes);
      return;
    }
    at.late = std::make_unique<cuda::Memory>(device_);
    at.late->reserve(region.bytes, "a trial");
    stream_.fill(at.start, kPoison, region.bytes);
    stream_.upload(at.late->data(), region.data, region.bytes);
  };
  const size_t inputs = c.problem.inputs.size(), outputs = c.problem.outputs.size();
  for (size_t i = 0; i < inputs; ++i)
    place(trial.input_region(i), delayed && !c.problem.inputs[i].constant);
  for (size_t i = 0; i < outputs; ++i) place(trial.output_region(i), false);
  cuda::Memory workspace(device_), counters(device_);
  workspace.reserve(static_cast<size_t>(c.code.workspace_bytes.eval(c.symbols)) + kAlign,
                    "a workspace");
  counters.reserve(static_cast<size_t>(4 * c.code.counters.eval(c.symbols)) + kAlign, "counters");
  stream_.fill(workspace.data(), kPoison, workspace.size());
  stream_.fill(counters.data(), 0, counters.size());
  parameters.push_back(address(workspace.data()));
  parameters.push_back(address(counters.data()));
  std::optional<cuda::Module> module;
  if (!c.code.source.empty()) module.emplace(device_, c.cubin.raw());
  const Calls calls = prepared_calls(c, parameters.size());
  stream_.wait();

  // As in a session, what follows a producer is recorded with it.
  if (delayed) stream_.begin_recording(), deliver_late(c, places);
  launch(c, module, calls, parameters, delayed);
  std::unique_ptr<cuda::Graph> graph;
  if (delayed) graph = stream_.end_recording(), stream_.launch(*graph);
  stream_.wait();

  const auto fetch = [&](Trial::Region region, const Place& from) {
    stream_.download(region.data, from.start, region.bytes);
  };
  for (size_t i = 0; i < inputs; ++i) fetch(trial.input_region(i), places[i]);
  for (size_t i = 0; i < outputs; ++i) fetch(trial.output_region(i), places[inputs + i]);
  stream_.wait();
  if (trial.damaged_bytes() != 0) return "wrote outside its outputs";
  const std::vector<Tensor> got = trial.outputs();
  for (size_t i = 0; i < got.size(); ++i)
    if (std::string why = compare(got[i], c.expected[i]); !why.empty())
      return fmt::format("output {}: {}", i, why);
  return {};
}

void DeviceTrials::deliver_late(DeviceCase& c, const std::vector<Place>& places) {
  for (size_t i = 0; i < c.problem.inputs.size(); ++i) {
    if (!places[i].late) continue;
    const uint64_t arguments[] = {address(places[i].start), address(places[i].late->data()),
                                  c.trial->input_region(i).bytes};
    stream_.launch({.function = delay_.function("late", 0),
                    .threads = 256,
                    .parameters = arguments,
                    .overlap = machine_.sm >= 90});
  }
}

DeviceTrials::Calls DeviceTrials::prepared_calls(const DeviceCase& c, size_t operands) const {
  Calls out;
  for (const GpuLaunch& l : c.code.launches) {
    if (!l.library) continue;
    Bindings numbers;
    for (const auto& [name, e] : l.library->numbers) numbers[name] = e.eval(c.symbols);
    out.push_back(cuda::prepare_call(device_, *l.library, numbers, operands));
  }
  return out;
}

void DeviceTrials::launch(const DeviceCase& c, const std::optional<cuda::Module>& module,
                          const Calls& calls, const std::vector<uint64_t>& parameters,
                          bool delayed) {
  // Library calls have full edges on both sides.
  bool overlap = delayed;
  size_t call = 0;
  for (const GpuLaunch& l : c.code.launches) {
    if (l.library) {
      calls[call++]->launch(stream_, parameters);
      overlap = false;
      continue;
    }
    std::vector<uint64_t> all = parameters;
    for (const Expr& e : l.numbers) all.push_back(static_cast<uint64_t>(e.eval(c.symbols)));
    unsigned grid[3];
    for (int axis = 0; axis < 3; ++axis)
      grid[axis] = static_cast<unsigned>(l.grid[axis].eval(c.symbols));
    if (grid[0] && grid[1] && grid[2])
      stream_.launch({.function = module->function(l.entry, l.shared_bytes),
                      .grid = {grid[0], grid[1], grid[2]},
                      .threads = static_cast<unsigned>(l.threads),
                      .shared_bytes = static_cast<unsigned>(l.shared_bytes),
                      .cluster = static_cast<unsigned>(l.cluster),
                      .parameters = all,
                      .overlap = overlap && machine_.sm >= 90});
    overlap = true;
  }
}

}  // namespace vitrail
