// SPDX-License-Identifier: Apache-2.0
// Every GPU kernel on its family's samples against the family's reference, on a GPU: in float32,
// float16 and bfloat16, unaligned and aligned, with every tactic, inside poisoned memory, alone and
// behind a launch that is slow to write. Rows that call a library run so too, where the machine has
// it, and recorded into a graph. Prints a line a kernel; ends with 1 when one fails.
//
//   vitrail_gpu_conformance [name-part]
#include <fmt/core.h>

#include <atomic>
#include <cmath>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <thread>

#include "backends/cuda/driver.h"
#include "backends/cuda/library.h"
#include "base/error.h"
#include "compile/nvrtc.h"
#include "kernels/gpu_kernel.h"
#include "kernels/trial.h"

namespace vitrail {
namespace {

struct Case {
  const GpuKernel* kernel;
  Problem problem;
  Bindings symbols;
  Tactic tactic;
  GpuCode code;
  Tensor cubin;
  std::string error;
};

Bindings random_bindings(const Problem& problem, std::mt19937_64& random) {
  std::set<std::string> symbols;
  for (const auto* list : {&problem.inputs, &problem.outputs})
    for (const Operand& operand : *list) {
      for (const Expr& e : operand.dims) e.collect_symbols(symbols);
      for (const Expr& e : operand.strides) e.collect_symbols(symbols);
    }
  Bindings out;
  for (const std::string& s : symbols)
    out[s] = std::uniform_int_distribution<int64_t>(1, 40)(random);
  return out;
}

// How a sample's operands lie: dense wherever the margin puts them, dense from aligned addresses,
// with rows of more than eight elements filled up to multiples of eight.
enum class Memory : uint8_t { plain, aligned, spare };

Problem in_storage(Problem p, DType type, Memory memory) {
  const auto convert = [&](std::vector<Operand>& list, const char* name) {
    for (size_t i = 0; i < list.size(); ++i) {
      const bool weight = list[i].constant && list[i].dims.size() >= 2;
      if (list[i].dtype == DType::f32 && (!list[i].constant || weight) && p.family != "depthwise")
        list[i].dtype = type;
      else if (list[i].dtype == DType::f32 && !list[i].constant)
        list[i].dtype = type;
      if (memory != Memory::plain) p.ints[fmt::format("align_{}{}", name, i)] = 16;
      Operand& o = list[i];
      constexpr int64_t kGrain = 8;
      if (memory != Memory::spare || o.constant || o.dims.size() < 2 ||
          !o.dims.back().is_constant() || o.dims.back().constant() < kGrain ||
          o.strides != row_major(o.dims))
        continue;
      const int64_t columns = o.dims.back().constant(),
                    wide = (columns + kGrain - 1) / kGrain * kGrain;
      Shape padded = o.dims;
      padded.back() = wide;
      o.strides = row_major(padded);
      p.ints[fmt::format("spare_{}{}", name, i)] = wide - columns;
    }
  };
  convert(p.inputs, "in");
  if (p.family != "gram") convert(p.outputs, "out");
  return p;
}

// Units of 2^-23 that intermediates rounded to the inputs' 16 bits add: attention's probabilities,
// times values of at most 1; an inverted block's hidden and windowed channels. Those deviate by
// about sqrt(c) / 3 (sqrt(c / 3) normalized) times sqrt(taps / 3); each errs by half a unit of
// itself, and e of them are summed with weights of deviation sqrt(1 / 3): four deviations of the
// sum, and half of that again for the first rounding. positional's values and what its first window
// makes of them deviate by sqrt(c) / 3 and sqrt(3) times that, and reach the result through windows
// of sqrt(3) each: 0.58 units of sqrt(c) sqrt(2), four deviations of which are ten.
double rounded_inside(const BoundProblem& bound) {
  const DType type = bound.inputs[0].dtype;
  const double half = type == DType::f16 ? 4096 : type == DType::bf16 ? 32768 : 0;
  const std::string& family = bound.problem->family;
  if (family == "attention") return 1.5 * half;
  if (family != "inverted" && family != "positional") return 0;
  const auto c = static_cast<double>(bound.inputs[0].dims[3]),
             e = static_cast<double>(bound.inputs[3].dims[0]);
  const auto taps = static_cast<double>(bound.inputs[3].dims[2] * bound.inputs[3].dims[3]);
  if (family == "positional") return half * 10 * std::max(1.0, std::sqrt(c / 9));
  const double hidden =
      std::max(1.0, std::sqrt(bound.problem->integer("normalize", 0) ? c / 3 : c / 9));
  return half * (6 * hidden * std::max(1.0, std::sqrt(taps / 3)) * std::sqrt(e / 3) + 8);
}

// Units of 2^-23 that rounding inputs to 16 bits does not add, as both sides read the rounded ones:
// only the result is rounded once more, and float32 tolerances scale with sums of the same length.
double allowed(const KernelFamily& family, const BoundProblem& bound, DType out) {
  const double half = out == DType::f16    ? 4096
                      : out == DType::bf16 ? 32768
                                           : 0;  // half a unit, in 2^-23, of 1..2
  // The tail's gelu for 16-bit results errs by a twentieth of a unit.
  return family.tolerance(bound) + half * 1.05 + rounded_inside(bound);
}

std::string compare(const Tensor& got, const Tensor& expected, double units) {
  if (!is_float(got.dtype())) return got.same(expected) ? "" : "differs from the reference";
  const Tensor wide = got.cast(DType::f64);
  double worst = 0;
  int64_t where = -1;
  for (int64_t i = 0; i < wide.size(); ++i) {
    const double a = wide.data<double>()[i], b = expected.data<double>()[i];
    if ((std::isnan(a) && std::isnan(b)) || a == b) continue;
    double error = std::fabs(a - b) / 0x1p-23 / std::max(1.0, std::fabs(b));
    if (std::isnan(error)) error = INFINITY;
    if (error > worst) worst = error, where = i;
  }
  if (worst <= units) return "";
  return fmt::format("element {} of {}: {}, expected {}; {:.1f} units of 2^-23, {:.1f} allowed",
                     where, to_string(got.dims()), wide.data<double>()[where],
                     expected.data<double>()[where], worst, units);
}

class Runner {
 public:
  Runner()
      : device_(cuda::Device::open(0)),
        stream_(device_),
        delay_(device_, delay_code().raw()),
        machine_(device_->machine()) {
    machine_.device = 0;
    machine_.cublas_lt = cuda::library("cublasLt");
    machine_.cudnn = cuda::library("cudnn");
  }
  const GpuMachine& machine() const { return machine_; }

  std::string run(const Case& c, uint64_t seed) {
    const KernelFamily& family = *find_family(c.kernel->family);
    const BoundProblem bound = vitrail::bind(c.problem, c.symbols);
    Trial trial([&](const Problem& p, size_t i,
                    const Tensor& dense) { return gpu_pack(*c.kernel, p, i, dense); },
                bound, seed);
    std::vector<Tensor> expected = trial.empty_outputs();
    family.reference(bound, trial.dense_inputs(), expected);
    device_->enter();
    for (const bool delayed : {false, true}) {
      trial.reset_outputs();
      std::vector<std::unique_ptr<cuda::Memory>> memory;
      std::vector<uint64_t> parameters;
      std::vector<std::byte*> starts, staged;
      const auto place = [&](Trial::Region region, bool varies) {
        memory.push_back(std::make_unique<cuda::Memory>(device_));
        memory.back()->reserve(region.bytes + 512, "a trial");
        // Aligned problems get their element 0 at a multiple of 256, others wherever the margin
        // puts it.
        std::byte* start =
            memory.back()->data() + (aligned(c.problem) ? (256 - region.first % 256) % 256 : 0);
        starts.push_back(start);
        parameters.push_back(reinterpret_cast<uint64_t>(start + region.first));
        std::byte* from = nullptr;
        if (delayed &&
            varies) {  // the contents arrive late, by a launch that the kernel may overlap
          memory.push_back(std::make_unique<cuda::Memory>(device_));
          memory.back()->reserve(region.bytes, "a trial");
          from = memory.back()->data();
          stream_.fill(start, 0xFF, region.bytes);
          stream_.upload(from, region.data, region.bytes);
        } else {
          stream_.upload(start, region.data, region.bytes);
        }
        staged.push_back(from);
      };
      for (size_t i = 0; i < c.problem.inputs.size(); ++i)
        place(trial.input_region(i), !c.problem.inputs[i].constant);
      for (size_t i = 0; i < c.problem.outputs.size(); ++i) place(trial.output_region(i), false);
      cuda::Memory workspace(device_), counters(device_);
      workspace.reserve(static_cast<size_t>(c.code.workspace_bytes.eval(c.symbols)) + 256,
                        "a workspace");
      counters.reserve(static_cast<size_t>(4 * c.code.counters.eval(c.symbols)) + 256, "counters");
      stream_.fill(workspace.data(), 0xFF, workspace.size());
      stream_.fill(counters.data(), 0, counters.size());
      parameters.push_back(reinterpret_cast<uint64_t>(workspace.data()));
      parameters.push_back(reinterpret_cast<uint64_t>(counters.data()));
      std::optional<cuda::Module> module;
      if (!c.code.source.empty()) module.emplace(device_, c.cubin.raw());
      const std::vector<std::unique_ptr<cuda::LibraryOperation>> calls = prepared(c, parameters);
      stream_.wait();
      const bool recorded = delayed && !calls.empty();
      if (recorded) stream_.begin_recording();
      if (delayed)
        for (size_t i = 0; i < c.problem.inputs.size(); ++i) {
          if (!staged[i]) continue;
          const uint64_t arguments[] = {reinterpret_cast<uint64_t>(starts[i]),
                                        reinterpret_cast<uint64_t>(staged[i]),
                                        trial.input_region(i).bytes};
          stream_.launch({.function = delay_.function("late", 0),
                          .threads = 256,
                          .parameters = arguments,
                          .overlap = machine().sm >= 90});
        }
      bool first = true, after_call = false;
      size_t call = 0;
      for (const GpuLaunch& l : c.code.launches) {
        if (l.library) {
          calls[call++]->launch(stream_, parameters);
          after_call = true, first = false;
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
                          .overlap = (delayed || !first) && !after_call && machine().sm >= 90});
        first = after_call = false;
      }
      std::unique_ptr<cuda::Graph> graph;
      if (recorded) graph = stream_.end_recording(), stream_.launch(*graph);
      stream_.wait();
      const size_t inputs = c.problem.inputs.size();
      for (size_t i = 0; i < inputs; ++i) {
        const Trial::Region r = trial.input_region(i);
        stream_.download(r.data, starts[i], r.bytes);
      }
      for (size_t i = 0; i < c.problem.outputs.size(); ++i) {
        const Trial::Region r = trial.output_region(i);
        stream_.download(r.data, starts[inputs + i], r.bytes);
      }
      stream_.wait();
      const char* when = delayed ? " (behind a late producer)" : "";
      if (trial.damaged_bytes() != 0) return fmt::format("wrote outside its outputs{}", when);
      const std::vector<Tensor> got = trial.outputs();
      for (size_t i = 0; i < got.size(); ++i)
        if (std::string why = compare(got[i], expected[i], allowed(family, bound, got[i].dtype()));
            !why.empty())
          return fmt::format("output {}: {}{}", i, why, when);
    }
    return {};
  }

 private:
  std::vector<std::unique_ptr<cuda::LibraryOperation>> prepared(
      const Case& c, const std::vector<uint64_t>& parameters) const {
    std::vector<std::unique_ptr<cuda::LibraryOperation>> out;
    for (const GpuLaunch& l : c.code.launches) {
      if (!l.library) continue;
      Bindings numbers;
      for (const auto& [name, e] : l.library->numbers) numbers[name] = e.eval(c.symbols);
      out.push_back(cuda::prepare_call(device_, *l.library, numbers, parameters.size()));
    }
    return out;
  }
  static bool aligned(const Problem& p) {
    return p.ints.contains("align_in0") || p.ints.contains("align_out0");
  }
  static Tensor delay_code() {
    return compile_cuda(
               "extern \"C\" __global__ void late(char* to, const char* from, long long bytes) "
               "{\n#if __CUDA_ARCH__ >= 900\n"
               "  asm volatile(\"griddepcontrol.wait;\" ::: \"memory\");\n  asm "
               "volatile(\"griddepcontrol.launch_dependents;\" ::: \"memory\");\n#endif\n"
               "  for (int i = 0; i < 20; ++i) __nanosleep(1000);\n  for (long long i = "
               "threadIdx.x; i < bytes; i += 256) to[i] = from[i];\n}\n",
               cuda::Device::open(0)->machine().architecture())
        .cubin;
  }
  std::shared_ptr<cuda::Device> device_;
  cuda::Stream stream_;
  cuda::Module delay_;
  GpuMachine machine_;
};

int run(const std::string& part) {
  Runner runner;
  const GpuMachine& machine = runner.machine();
  std::vector<Case> cases;
  std::map<std::string, int> without;
  std::mt19937_64 random(11);
  for (const GpuKernel* kernel : all_gpu_kernels()) {
    if (std::string_view(kernel->name).find(part) == std::string_view::npos) continue;
    for (const Problem& sample : find_family(kernel->family)->samples())
      for (const DType type : {DType::f32, DType::f16, DType::bf16})
        for (const Memory memory : {Memory::plain, Memory::aligned, Memory::spare}) {
          if (memory == Memory::spare && size_of(type) != 2) continue;
          const Problem problem = in_storage(sample, type, memory);
          if (!kernel->accepts(problem, machine).empty()) continue;
          const Bindings symbols = random_bindings(problem, random);
          const std::vector<Tactic> tactics =
              kernel->tactics(vitrail::bind(problem, symbols), machine);
          // All tactics would be thousands of compilations: each sample takes the first and one
          // more.
          if (tactics.empty()) {  // a library that has nothing for these extents
            ++without[kernel->name];
            continue;
          }
          std::vector<Tactic> chosen = {tactics[0]};
          if (tactics.size() > 1) chosen.push_back(tactics[1 + random() % (tactics.size() - 1)]);
          for (const Tactic& tactic : chosen)
            cases.push_back({kernel,
                             problem,
                             symbols,
                             tactic,
                             kernel->generate(problem, tactic, machine),
                             {},
                             {}});
        }
  }
  std::atomic<size_t> next{0};
  std::vector<std::thread> compilers;
  for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t)
    compilers.emplace_back([&] {
      for (size_t i = next++; i < cases.size(); i = next++) try {
          if (cases[i].code.source.empty()) continue;
          cases[i].cubin = compile_cuda(cases[i].code.source, machine.architecture()).cubin;
        } catch (const Error& e) {
          cases[i].error = e.what();
        }
    });
  for (std::thread& t : compilers) t.join();
  std::map<std::string, std::pair<int, int>> counts;
  int failures = 0;
  for (const Case& c : cases) {
    std::string why = c.error;
    try {
      if (why.empty()) why = runner.run(c, random());
    } catch (const Error& e) {
      why = e.what();
    }
    auto& [passed, failed] = counts[c.kernel->name];
    (why.empty() ? passed : failed) += 1;
    if (why.empty()) continue;
    std::string at;
    for (const auto& [name, value] : c.symbols) at += fmt::format(" {}={}", name, value);
    if (failed <= 6)
      fmt::print("FAILED {} {{{}}}{}: {}\n  {}\n", c.kernel->name, to_string(c.tactic), at,
                 why.substr(0, 600), c.problem.str());
    ++failures;
    if (why.find("lost to this process") != std::string::npos) break;
  }
  for (const auto& [name, count] : counts)
    fmt::print("{:28} {:5} passed {:5} failed\n", name, count.first, count.second);
  for (const auto& [name, count] : without)
    fmt::print("{:28} {:5} samples without an algorithm\n", name, count);
  fmt::print("{} cases on {}, {} failed\n", cases.size(), machine.model, failures);
  return failures ? 1 : 0;
}

}  // namespace
}  // namespace vitrail

int main(int argc, char** argv) {
  try {
    return vitrail::run(argc > 1 ? argv[1] : "");
  } catch (const vitrail::Error& e) {
    fmt::print(stderr, "vitrail_gpu_conformance: {}\n", e.what());
    return static_cast<int>(e.code);
  }
}
