// SPDX-License-Identifier: Apache-2.0
#include "compile/gpu_plan.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "backends/cuda/driver.h"
#include "backends/cuda/library.h"
#include "base/error.h"
#include "compile/choices.h"
#include "ir/storage.h"
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
    return {};
  }
  const int number = cuda::device_number(options.device);
  GpuTarget target;
  target.storage = options.storage;
  target.tf32 = options.tf32;
  target.cache_folder = options.code_cache;
  if (!options.architecture.empty()) {
    std::string digits = options.architecture;
    for (const char* prefix : {"sm_", "sm"})
      if (digits.starts_with(prefix)) digits = digits.substr(std::string_view(prefix).size());
    if (digits.ends_with("a")) digits.pop_back();
    require(digits.size() == 2 && std::isdigit(digits[0]) && std::isdigit(digits[1]), Code::usage,
            "--arch '{}': expected sm_80, sm_86, sm_87, sm_89 or sm_90",
            printable(options.architecture));
    target.machine = typical_gpu(std::stoi(digits));
    forbid_libraries(target.machine, "its algorithms are asked for on a device that is not here");
    if (number >= cuda::device_count()) return target;
    const GpuMachine present = cuda::Device::open(number)->machine();
    if (present.sm != target.machine.sm) return target;
  }
  target.machine = cuda::Device::open(number)->machine();
  target.device = number;
  typical_gpu(target.machine.sm);  // refuses what no kernel is written for
  forbid_libraries(target.machine, "--no-libraries");
  if (!options.libraries) return target;
  target.machine.device = number;
  target.machine.cublas_lt = cuda::library("cublasLt");
  return target;
}

namespace {
// Sets of values that must have one type.
class Classes {
 public:
  explicit Classes(size_t count) : parent_(count) { std::iota(parent_.begin(), parent_.end(), 0u); }
  uint32_t root(uint32_t v) {
    while (parent_[v] != v) v = parent_[v] = parent_[parent_[v]];
    return v;
  }
  void join(uint32_t a, uint32_t b) { parent_[root(a)] = root(b); }

 private:
  std::vector<uint32_t> parent_;
};

// A constant with one axis longer than 1, at most.
bool is_bias(const ir::Value& value) {
  if (!value.is_constant()) return false;
  const Dims& dims = value.constant.dims();
  return std::count_if(dims.begin(), dims.end(), [](int64_t d) { return d != 1; }) <= 1;
}
}  // namespace

std::vector<StorageChange> set_storage(ir::Graph& graph, DType storage,
                                       std::vector<std::string>& account) {
  if (storage == DType::f32) return {};
  Classes classes(graph.value_count());
  std::set<uint32_t> wide;
  std::vector<ir::ValueId> tied;  // constants among them follow their class
  const auto order = graph.topological_order();
  for (ir::NodeId id : order) {
    const ir::Node& node = graph.node(id);
    if (!node.is_fusion() && !node.bodies.empty()) {
      account.push_back("stored in float32: the model has control flow");
      return {};
    }
    const bool concat = node.is("Concat");
    if (ir::is_view(graph, node) || concat)
      for (const auto* list : {&node.inputs, &node.outputs})
        for (ir::ValueId v : *list) {
          if (!v.valid() || graph.value(v).dtype != DType::f32) continue;
          classes.join(v.index, node.outputs[0].index);
          tied.push_back(v);
          if (!concat && list == &node.inputs) break;
        }
    if (node.is_fusion() && (node.family == "gram" || node.family == "reduce"))
      for (ir::ValueId v : node.outputs) wide.insert(v.index);
  }
  for (const auto* list : {&graph.inputs, &graph.outputs})
    for (ir::ValueId v : *list) wide.insert(v.index);
  std::set<uint32_t> wide_roots;
  for (uint32_t v : wide) wide_roots.insert(classes.root(v));
  const auto narrow = [&](ir::ValueId v) {
    return v.valid() && graph.value(v).dtype == DType::f32 &&
           !wide_roots.contains(classes.root(v.index));
  };
  std::vector<StorageChange> changes;
  const auto change = [&](ir::ValueId v) {
    ir::Value& value = graph.value(v);
    changes.push_back({v, value.dtype, value.constant});
    if (value.is_constant()) value.constant = value.constant.cast(storage);
    value.dtype = storage;
  };
  for (ir::ValueId v : tied)
    if (narrow(v) && graph.value(v).is_constant()) change(v);
  // Biases of products are weights as their factors are; libraries add them in the result's type.
  for (ir::NodeId id : order) {
    const ir::Node& node = graph.node(id);
    if ((node.family != "gemm" && node.family != "conv") || !narrow(node.outputs[0])) continue;
    for (ir::ValueId v : node.inputs)
      if (narrow(v) && is_bias(graph.value(v))) change(v);
  }
  for (ir::NodeId id : order)
    for (ir::ValueId v : graph.node(id).outputs)
      if (narrow(v)) change(v);
  return changes;
}

void restore_storage(ir::Graph& graph, const std::vector<StorageChange>& changes) {
  for (const StorageChange& c : changes) {
    graph.value(c.value).dtype = c.dtype;
    graph.value(c.value).constant = c.constant;
  }
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
  // What is multiplied on tensor cores has the storage type; small weights are read once and stay.
  static const std::set<std::string_view> kMatrix = {"gemm", "conv", "conv_transpose", "inverted"};
  const bool matrix = kMatrix.contains(problem.family);
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

void choose_gpu_kernels(Plan& plan, const GpuTarget& target, const KernelSet& kernels) {
  plan.target = "cuda:" + target.machine.architecture();
  const std::vector<TunedPoint> points = tuned_points(plan);
  const Bindings opt = symbols_at(plan, &PlanSymbol::opt);
  for_each_step(plan.steps, [&](Step& step) {
    if (step.kind != Step::Kind::launch) return;
    with_context(fmt::format("step '{}'", printable(step.name)), [&] {
      std::string why;
      const GpuKernel* kernel = first_gpu_kernel(step.problem, target.machine, kernels, &why);
      require(kernel != nullptr, Code::internal, "no GPU kernel takes {}: {}", step.problem.str(),
              why);
      const auto first_tactic = [&](Bindings at) {
        for (const auto& [name, value] : opt) at.emplace(name, value);
        add_data_bounds(plan, at);
        const BoundProblem bound = vitrail::bind(step.problem, at);
        for (const GpuKernel* other : kernels.gpu)
          if (prefers(*other, bound, target.machine, kernels))
            if (const auto tactics = other->tactics(bound, target.machine); !tactics.empty())
              return KernelChoice{.when = {}, .kernel = other->name, .tactic = tactics[0]};
        return KernelChoice{.when = {},
                            .kernel = kernel->name,
                            .tactic = kernel->tactics(bound, target.machine).at(0)};
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
                  CodeCompiler& compiler) {
  std::vector<std::string> sources;
  std::map<std::string, int> known;
  for_each_step(plan.steps, [&](Step& step) {
    for (KernelChoice& choice : step.choices) {
      GpuCode code =
          kernels.find_gpu(choice.kernel).generate(step.problem, choice.tactic, target.machine);
      choice.module = -1;
      if (!code.source.empty()) {
        const auto [at, fresh] = known.emplace(code.source, static_cast<int>(sources.size()));
        if (fresh) sources.push_back(std::move(code.source));
        choice.module = at->second;
      }
      choice.launches = std::move(code.launches);
      choice.workspace_bytes = std::move(code.workspace_bytes);
      choice.counters = std::move(code.counters);
    }
  });
  compiler.only(sources);
  plan.modules.clear();
  for (const std::string& source : sources) plan.modules.push_back(compiler.get(source));
}

}  // namespace vitrail
