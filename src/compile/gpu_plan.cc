// SPDX-License-Identifier: Apache-2.0
#include "compile/gpu_plan.h"

#include <algorithm>
#include <map>

#include "backends/cuda/driver.h"
#include "backends/cuda/library.h"
#include "base/error.h"
#include "compile/choices.h"
#include "compile/joint_code.h"
#include "compile/storage.h"
#include "plan/validate.h"

namespace vitrail {

namespace {
void forbid_libraries(GpuMachine& machine, const char* why) {
  for (GpuLibrary* library : {&machine.cublas_lt, &machine.cudnn}) *library = {0, why};
}
}  // namespace

std::optional<GpuTarget> gpu_target(const BuildOptions& options) {
  const bool half = options.storage == DType::f16 || options.storage == DType::bf16;
  if (options.device == "cpu") {
    require(!half && !options.tf32, Code::unsupported,
            "--{} is for --device cuda: kernels of the CPU compute in float32 only",
            options.tf32                    ? "tf32"
            : options.storage == DType::f16 ? "fp16"
                                            : "bf16");
    require(options.input_type == DType::f32 && options.output_type == DType::f32,
            Code::unsupported, "--io fp16 is for --device cuda: the CPU takes and gives float32");
    return {};
  }
  for (const DType type : {options.input_type, options.output_type})
    require(type == DType::f32 || type == DType::f16, Code::unsupported,
            "inputs and outputs can be f32 or f16, not {}", name_of(type));
  const int number = cuda::device_number(options.device);
  GpuTarget target;
  target.storage = options.storage;
  target.inputs = options.input_type;
  target.outputs = options.output_type;
  target.tf32 = options.tf32;
  target.cache_folder = options.cache_folder;
  if (!options.architecture.empty()) {
    std::string digits = options.architecture;
    for (const char* prefix : {"sm_", "sm"})
      if (digits.starts_with(prefix)) digits = digits.substr(std::string_view(prefix).size());
    if (digits.ends_with("a")) digits.pop_back();
    require(digits.size() == 2 && std::isdigit(digits[0]) && std::isdigit(digits[1]), Code::usage,
            "--arch '{}': expected sm_80, sm_86, sm_87, sm_89 or sm_90",
            printable(options.architecture));
    target.machine = typical_gpu(std::stoi(digits));
    forbid_libraries(target.machine, "as algorithms are asked for on a device that is not here");
    if (number >= cuda::device_count()) return target;
    const GpuMachine present = cuda::Device::open(number)->machine();
    if (present.sm != target.machine.sm) return target;
  }
  target.machine = cuda::Device::open(number)->machine();
  target.machine.device = number;
  typical_gpu(target.machine.sm);  // refuses what no kernel is written for
  forbid_libraries(target.machine, "as --no-libraries says");
  if (!options.libraries) return target;
  target.machine.cublas_lt = cuda::library("cublasLt");
  target.machine.cudnn = cuda::library("cudnn");
  return target;
}

const GpuKernel* first_gpu_kernel(const Problem& problem, const GpuMachine& machine,
                                  const KernelSet& kernels, std::string* why) {
  for (const GpuKernel* kernel : kernels.gpu) {
    if (problem.family != kernel->family || kernel->preferred) continue;
    const Refusal refusal = kernels.has(*kernel) ? kernel->accepts(problem, machine)
                                                 : Refusal("it failed the verification");
    if (refusal.empty()) return kernel;
    if (why) *why += fmt::format("{}{}: {}", why->empty() ? "" : "; ", kernel->name, refusal);
  }
  if (why && why->empty()) *why = "the GPU has no kernel of the family";
  return nullptr;
}

void set_weight_types(Problem& problem, const std::vector<bool>& packed, const GpuTarget& target) {
  const bool matrix = has_narrow_weights(problem.family);
  for (size_t i = 0; i < packed.size(); ++i)
    if (packed[i] && matrix && problem.inputs[i].dtype == DType::f32)
      problem.inputs[i].dtype = target.storage;
  if (matrix && target.tf32) problem.ints["tf32"] = 1;
}

void set_alignments(Step& step, const Plan& plan) {
  const auto set = [&](const std::vector<int>& values, const char* name,
                       const std::vector<Operand>& operands) {
    for (size_t i = 0; i < values.size(); ++i) {
      const PlanValue& v = plan.values[static_cast<size_t>(values[i])];
      const auto element = static_cast<int64_t>(size_of(operands[i].dtype));
      int64_t bytes = 16;  // buffers begin at multiples of 64
      Expr quotient;
      while (bytes > element && !divides(bytes / element, v.offset, &quotient)) bytes /= 2;
      if (bytes > element) step.problem.ints[fmt::format("align_{}{}", name, i)] = bytes;
    }
  };
  set(step.inputs, "in", step.problem.inputs);
  set(step.outputs, "out", step.problem.outputs);
}

namespace {
bool prefers(const GpuKernel& kernel, const BoundProblem& bound, const GpuMachine& machine,
             const KernelSet& kernels) {
  return kernel.preferred && kernel.family == bound.problem->family && kernels.has(kernel) &&
         kernel.accepts(*bound.problem, machine).empty() && kernel.preferred(bound, machine);
}
}  // namespace

std::optional<TimedCandidate> heuristic_choice(const BoundProblem& bound, const GpuMachine& machine,
                                               const KernelSet& kernels, std::string* why) {
  for (const GpuKernel* kernel : kernels.gpu)
    if (prefers(*kernel, bound, machine, kernels))
      if (auto tactics = kernel->tactics(bound, machine); !tactics.empty())
        return TimedCandidate{kernel->name, std::move(tactics[0]), 0};
  const GpuKernel* kernel = first_gpu_kernel(*bound.problem, machine, kernels, why);
  if (!kernel) return {};
  return TimedCandidate{kernel->name, kernel->tactics(bound, machine).at(0), 0};
}

void choose_gpu_kernels(Plan& plan, const GpuTarget& target, const KernelSet& kernels) {
  plan.target = "cuda:" + target.machine.architecture();
  const std::vector<TunedPoint> points = tuned_points(plan);
  const Bindings opt = symbols_at(plan, &PlanSymbol::opt);
  for_each_step(plan.steps, [&](Step& step) {
    if (step.kind != Step::Kind::launch) return;
    with_context(fmt::format("step '{}'", printable(step.name)), [&] {
      const auto first_tactic = [&](Bindings at) {
        for (const auto& [name, value] : opt) at.emplace(name, value);
        add_data_bounds(plan, at);
        const BoundProblem bound = vitrail::bind(step.problem, at);
        std::string why;
        const auto choice = heuristic_choice(bound, target.machine, kernels, &why);
        require(choice.has_value(), Code::internal, "no GPU kernel takes {}: {}",
                step.problem.str(), why);
        return KernelChoice{.when = {}, .kernel = choice->kernel, .tactic = choice->tactic};
      };
      // Tiles order sums: one for all extents where results must not depend on the batch.
      if (step.problem.fixed_order) {
        step.choices = {first_tactic(opt)};
        return;
      }
      std::vector<KernelChoice> chosen;
      for (const TunedPoint& point : points) chosen.push_back(first_tactic(point.at));
      step.choices = merge_choices(points, chosen, symbols_of(step.problem));
    });
  });
}

void add_gpu_code(Plan& plan, const GpuTarget& target, const KernelSet& kernels,
                  CodeCompiler& compiler, std::vector<Bindings> points) {
  std::vector<std::string> sources;
  std::map<std::string, int> known;
  const auto module_of = [&](std::string source) {
    const auto [at, fresh] = known.emplace(source, static_cast<int>(sources.size()));
    if (fresh) sources.push_back(std::move(source));
    return at->second;
  };
  for_each_step(plan.steps, [&](Step& step) {
    for (KernelChoice& choice : step.choices) {
      GpuCode code =
          kernels.find_gpu(choice.kernel).generate(step.problem, choice.tactic, target.machine);
      choice.module = code.source.empty() ? -1 : module_of(std::move(code.source));
      choice.launches = std::move(code.launches);
      choice.workspace_bytes = std::move(code.workspace_bytes);
      choice.counters = std::move(code.counters);
    }
  });
  add_joint_code(plan, target, kernels, module_of, std::move(points));
  compiler.only(sources);
  plan.modules.clear();
  for (const std::string& source : sources) plan.modules.push_back(compiler.get(source));
}

std::string account_of_libraries(const Plan& plan, const GpuTarget& target) {
  std::map<std::string, int> steps;
  for_each_step(plan.steps, [&](const Step& step) {
    std::set<std::string> called;
    for (const KernelChoice& choice : step.choices)
      for (const GpuLaunch& launch : choice.launches)
        if (launch.library)
          called.insert(cuda::version_text(launch.library->library, launch.library->version));
    for (const std::string& name : called) ++steps[name];
  });
  std::string out;
  for (const auto& [name, count] : steps)
    out += fmt::format("{}{} in {} step{}", out.empty() ? "calls " : ", ", name, count,
                       count == 1 ? "" : "s");
  if (!out.empty()) return out + ": the plan needs it where it runs";
  for (const GpuLibrary* library : {&target.machine.cublas_lt, &target.machine.cudnn})
    if (library->version == 0) return "calls no library, " + library->missing;
  return "calls no library: kernels of ours suit every step";
}

}  // namespace vitrail
