// SPDX-License-Identifier: Apache-2.0
// From a laid-out graph to the plan's tables.
#include <algorithm>
#include <map>

#include "compile/choices.h"
#include "compile/compile.h"
#include "compile/data_bounds.h"
#include "compile/gpu_plan.h"
#include "compile/layout.h"
#include "compile/live_ranges.h"
#include "compile/packed_weights.h"
#include "compile/spare_lanes.h"
#include "compile/storage.h"
#include "compile/together.h"
#include "ir/control_flow.h"
#include "kernels/kernel.h"
#include "passes/forms.h"
#include "passes/pipeline.h"

namespace vitrail {
namespace {

std::vector<bool> packed_operands(const LaidStep& laid) {
  std::vector<bool> out;
  for (const LoweredOperand& operand : laid.lowered.inputs) out.push_back(operand.packed);
  return out;
}

class PlanMaker {
 public:
  PlanMaker(const ir::Graph& graph, const Bindings& opt, const BuildOptions& options,
            const KernelSet& kernels, Layout layout, std::vector<std::string>& account,
            const GpuTarget* gpu, PackedWeights& packed)
      : graph_(graph),
        opt_(opt),
        options_(options),
        kernels_(kernels),
        layout_(std::move(layout)),
        bounds_(graph, account),
        gpu_(gpu),
        packed_(packed) {}

  Plan run() {
    plan_.model_name = graph_.name;
    plan_.metadata = graph_.metadata;
    symbols();
    plan_.guards = guards_of(graph_, {});
    buffers();
    if (gpu_) bring_together(layout_.steps, opt_);
    plan_.steps = make_block(layout_.steps);
    if (gpu_) set_spare_lanes(plan_);
    set_live_ranges(plan_);
    return std::move(plan_);
  }

 private:
  void symbols() {
    for (const auto& [name, symbol] : graph_.symbols) {
      if (symbol.kind == ir::SymbolKind::data) continue;
      PlanSymbol out{
          .name = name, .kind = static_cast<PlanSymbol::Kind>(symbol.kind), .bound = symbol.bound};
      if (symbol.kind == ir::SymbolKind::input) {
        out.min = symbol.range.low;
        out.max = symbol.range.high;
        out.opt = opt_.at(name);
      }
      plan_.symbols.push_back(std::move(out));
    }
    for (const auto& [name, bound] : bounds_.all())
      plan_.symbols.push_back({.name = name, .kind = PlanSymbol::Kind::data, .bound = bound});
  }

  void buffers() {
    for (const LaidBuffer& laid : layout_.buffers) {
      PlanBuffer b;
      b.kind = laid.kind;
      b.bytes = bounds_.largest(laid.elements) * Expr(static_cast<int64_t>(size_of(laid.dtype)));
      constexpr int64_t kMostGuessed = int64_t{1} << 30;
      require(!bounds_.guessed(laid.elements) ||
                  b.bytes.bounds(graph_.symbol_ranges()).high <= kMostGuessed,
              Code::unsupported,
              "a tensor of {} elements has extents that depend on data and have no bound; give "
              "what they are computed from "
              "(sizes, pads, scales) as constants of the model",
              printable(laid.elements.str()));
      b.io = laid.io;
      if (laid.kind == LaidBuffer::Kind::constant) b.constant = add_constant(laid.constant);
      plan_.buffers.push_back(std::move(b));
    }
    plan_.inputs.resize(graph_.inputs.size());
    plan_.outputs.resize(graph_.outputs.size());
    for (size_t i = 0; i < layout_.buffers.size(); ++i) {
      const LaidBuffer::Kind kind = layout_.buffers[i].kind;
      if (kind == LaidBuffer::Kind::input) io(plan_.inputs, graph_.inputs, i);
      if (kind == LaidBuffer::Kind::output) io(plan_.outputs, graph_.outputs, i);
    }
  }
  void io(std::vector<PlanTensorInfo>& list, const std::vector<ir::ValueId>& values,
          size_t buffer) {
    const auto index = static_cast<size_t>(layout_.buffers[buffer].io);
    const ir::Value& value = graph_.value(values[index]);
    list[index] = {value.name, add_value(value.name, value.dtype, value.shape,
                                         {static_cast<int>(buffer), 0, row_major(value.shape)})};
  }
  int add_constant(const Tensor& t) {
    plan_.constants.push_back(t);
    return static_cast<int>(plan_.constants.size()) - 1;
  }
  int add_value(const std::string& name, DType dtype, const Shape& dims, const ir::Storage& s) {
    plan_.values.push_back({name, dtype, dims, s.buffer, s.offset, s.strides});
    return static_cast<int>(plan_.values.size()) - 1;
  }
  int constant_value(const std::string& name, const Tensor& t) {
    PlanBuffer b{.kind = PlanBuffer::Kind::constant, .bytes = static_cast<int64_t>(t.bytes())};
    b.constant = add_constant(t);
    plan_.buffers.push_back(std::move(b));
    const Shape dims = to_shape(t.dims());
    return add_value(name, t.dtype(), dims,
                     {static_cast<int>(plan_.buffers.size()) - 1, 0, row_major(dims)});
  }

  Block make_block(const std::vector<LaidStep>& steps) {
    Block out;
    for (const LaidStep& step : steps) out.push_back(make_step(step));
    return out;
  }

  Step make_step(const LaidStep& laid) {
    Step step;
    step.name = laid.name;
    step.kind = laid.kind;
    step.together = laid.together;
    if (laid.node.valid()) step.sources = laid.graph->node(laid.node).sources;
    if (laid.kind == LaidStep::Kind::launch) {
      launch(laid, step);
      return step;
    }
    for (size_t i = 0; i < laid.inputs.size(); ++i) step.inputs.push_back(value_at(laid, false, i));
    for (size_t i = 0; i < laid.outputs.size(); ++i)
      step.outputs.push_back(value_at(laid, true, i));
    data_extents(laid, step);
    if (laid.kind == LaidStep::Kind::host)
      host(laid, step);
    else
      control(laid, step);
    return step;
  }

  int value_at(const ir::Graph& graph, ir::ValueId v, const ir::Storage& s) {
    if (!v.valid()) return -1;
    const auto key =
        std::make_tuple(&graph, v.index, s.buffer, s.offset.str(), to_string(s.strides));
    const auto [at, fresh] = seen_.emplace(key, 0);
    if (fresh)
      at->second = add_value(graph.value(v).name, graph.value(v).dtype, graph.value(v).shape, s);
    return at->second;
  }
  int value_at(const LaidStep& laid, bool output, size_t i) {
    return value_at(*laid.graph, (output ? laid.output_values : laid.input_values)[i],
                    (output ? laid.outputs : laid.inputs)[i]);
  }

  void launch(const LaidStep& laid, Step& step) {
    step.problem = laid.lowered.problem;
    step.problem.fixed_order = options_.deterministic;
    const KernelFamily* family = find_family(step.problem.family);
    require(family != nullptr, Code::internal, "no kernel family '{}'", step.problem.family);
    if (gpu_) set_weight_types(step.problem, packed_operands(laid), *gpu_);
    const GpuKernel* on_gpu =
        gpu_ ? first_gpu_kernel(step.problem, gpu_->machine, kernels_, nullptr) : nullptr;
    for (size_t i = 0; i < laid.inputs.size(); ++i) {
      const bool copy = !laid.node.valid();
      const LoweredOperand* operand = copy ? nullptr : &laid.lowered.inputs[i];
      if (!copy && (operand->io < 0 || operand->packed)) {
        const Tensor& dense =
            operand->io < 0 ? operand->constant : laid.graph->value(laid.input_values[i]).constant;
        const Tensor packed = on_gpu ? gpu_pack(*on_gpu, step.problem, i, dense)
                              : operand->packed && family->pack
                                  ? packed_.get(*family, step.problem, i, dense)
                                  : dense;
        const std::string name =
            operand->io < 0 ? laid.name + ".weight" : laid.graph->value(laid.input_values[i]).name;
        step.inputs.push_back(constant_value(name, packed));
      } else {
        step.inputs.push_back(value_at(laid, false, i));
      }
    }
    for (size_t i = 0; i < laid.outputs.size(); ++i)
      step.outputs.push_back(value_at(laid, true, i));
    if (gpu_) return set_alignments(step, plan_);
    const CpuKernel* kernel = kernels_.first(step.problem);
    if (kernel && kernel != kernels_.heuristic(step.problem))
      step.choices = {{.when = {}, .kernel = kernel->name, .tactic = {}}};
  }

  void host(const LaidStep& laid, Step& step) {
    const ir::Node& node = laid.graph->node(laid.node);
    step.domain = node.op->domain;
    step.op = node.op->name;
    step.attrs = node.attrs;
  }

  void control(const LaidStep& laid, Step& step) {
    const ir::Node& node = laid.graph->node(laid.node);
    const auto values = [&](const std::vector<LaidValue>& list, const ir::Graph& body) {
      std::vector<int> out;
      for (const LaidValue& v : list) out.push_back(value_at(body, v.value, v.storage));
      return out;
    };
    for (size_t i = 0; i < laid.blocks.size(); ++i) {
      const ir::Graph& body = *node.bodies[i];
      step.blocks.push_back(make_block(laid.blocks[i]));
      step.block_guards.push_back(guards_of(body, *laid.graph));
      if (i < laid.block_inputs.size())
        step.block_inputs.push_back(values(laid.block_inputs[i], body));
      step.block_outputs.push_back(values(laid.block_outputs[i], body));
    }
    if (std::all_of(step.block_guards.begin(), step.block_guards.end(),
                    [](const auto& guards) { return guards.empty(); }))
      step.block_guards.clear();
  }

  // Those that the graph around does not have already.
  static std::vector<PlanGuard> guards_of(const ir::Graph& graph, const ir::Graph& around) {
    std::vector<PlanGuard> out;
    for (const Equality& e : graph.guards) {
      const bool known = std::any_of(around.guards.begin(), around.guards.end(),
                                     [&](const Equality& g) { return g.a == e.a && g.b == e.b; });
      if (!known) out.push_back({e.a, e.b});
    }
    return out;
  }

  // The symbols that this step writes.
  void data_extents(const LaidStep& laid, Step& step) {
    auto [writers, fresh] = writers_.try_emplace(laid.graph);
    if (fresh) writers->second = ir::symbol_writers(*laid.graph);
    for (const auto& [symbol, writer] : writers->second) {
      if (writer.node != laid.node) continue;
      const auto at = std::find(laid.output_values.begin(), laid.output_values.end(),
                                laid.graph->node(laid.node).outputs[writer.output]);
      step.data_extents.push_back({static_cast<int>(at - laid.output_values.begin()),
                                   static_cast<int>(writer.axis), symbol});
    }
  }

  const ir::Graph& graph_;
  const Bindings& opt_;
  const BuildOptions& options_;
  const KernelSet& kernels_;
  Layout layout_;
  DataBounds bounds_;
  const GpuTarget* gpu_;
  PackedWeights& packed_;
  Plan plan_;
  std::map<std::tuple<const ir::Graph*, uint32_t, int, std::string, std::string>, int> seen_;
  std::map<const ir::Graph*, std::map<std::string, ir::SymbolWriter>> writers_;
};

// Whether a kernel takes the step's problem as it is laid out and, by prediction at opt, the fusion
// pays. Extents that depend on data have no opt; there it does.
bool has_kernel(const LaidStep& step, const Bindings& opt, const KernelSet& kernels,
                const GpuTarget* gpu, std::string* why) {
  const Problem& problem = step.lowered.problem;
  if (gpu) {
    Problem typed = problem;
    set_weight_types(typed, packed_operands(step), *gpu);
    const GpuKernel* kernel = first_gpu_kernel(typed, gpu->machine, kernels, why);
    if (!kernel || !kernel->pays) return kernel != nullptr;
    for (const std::string& symbol : symbols_of(typed))
      if (!opt.contains(symbol)) return true;
    *why = kernel->pays(vitrail::bind(typed, opt), gpu->machine);
    return why->empty();
  }
  if (kernels.heuristic(problem) && !kernels.first(problem)) {
    *why = "every kernel that takes it failed the verification";
    return false;
  }
  for (const CpuKernel* kernel : kernels.all) {
    if (problem.family != kernel->family || kernel->isa != Isa::baseline) continue;
    const Refusal refusal = kernel->accepts(problem);
    if (refusal.empty()) return true;
    *why += fmt::format("{}{}: {}", why->empty() ? "" : "; ", kernel->name, refusal);
  }
  if (why->empty()) *why = "no kernel of the family";
  return false;
}

// Forms that nobody chose between: the first.
void take_first_forms(ir::Graph& graph) {
  for (bool dissolved = true; std::exchange(dissolved, false);)  // forms may hold forms
    for (ir::NodeId id : graph.topological_order())
      if (passes::offers_forms(graph.node(id))) {
        ir::dissolve(graph, id);
        dissolved = true;
      }
  for (ir::NodeId id : graph.topological_order())
    if (!graph.node(id).is_fusion())
      for (auto& body : graph.node(id).bodies) take_first_forms(*body);
}

// Fusions, at any depth, whose problem no kernel takes as it is laid out, or that do not pay.
void find_refused(const std::vector<LaidStep>& steps, const Bindings& opt, const KernelSet& kernels,
                  const GpuTarget* gpu, std::vector<Refused>& refused) {
  for (const LaidStep& step : steps) {
    std::string why;
    if (step.kind == LaidStep::Kind::launch && !has_kernel(step, opt, kernels, gpu, &why)) {
      require(step.node.valid(), kernels.off.empty() ? Code::internal : Code::accuracy,
              "no kernel copies {}: {}", step.lowered.problem.str(), why);
      refused.push_back({step.graph, step.node, why});
    }
    for (const auto& block : step.blocks) find_refused(block, opt, kernels, gpu, refused);
  }
}

}  // namespace

Plan make_plan(ir::Graph& graph, const Bindings& opt, const BuildOptions& options,
               const KernelSet& kernels, std::vector<std::string>& account, const GpuTarget* gpu,
               const AxisOrders& orders, std::vector<FreeOrder>* free, PackedWeights* packed) {
  PackedWeights own;
  take_first_forms(graph);
  // Each round takes the next body of what was refused, or dissolves it; bodies become fewer and
  // smaller, so the rounds end.
  for (;;) {
    std::vector<Refused> refused;
    const std::vector<StorageChange> storage =
        gpu ? set_storage(graph, {gpu->storage, gpu->inputs, gpu->outputs}, account)
            : std::vector<StorageChange>{};
    Layout layout = lay_out(graph, opt, refused, orders, gpu != nullptr);
    if (refused.empty()) find_refused(layout.steps, opt, kernels, gpu, refused);
    if (refused.empty()) {
      if (free) *free = layout.free;
      Plan plan = PlanMaker(graph, opt, options, kernels, std::move(layout), account, gpu,
                            packed ? *packed : own)
                      .run();
      restore_storage(graph, storage);  // for who looks for blame: references compute in float32
      return plan;
    }
    restore_storage(graph, storage);
    for (const Refused& r : refused) {
      ir::Node& node = r.graph->node(r.node);
      if (node.bodies.size() > 1) {  // another form of the same meaning, before none
        account.push_back(fmt::format("another form of {}: '{}' because {}", node.family,
                                      printable(node.name), r.why));
        node.bodies.erase(node.bodies.begin());
        continue;
      }
      account.push_back(fmt::format("not fused as {}: '{}' because {}", node.family,
                                    printable(node.name), r.why));
      passes::dissolve_refused(*r.graph, r.node);
    }
    ir::verify(graph, "dissolving refused fusions");
  }
}

}  // namespace vitrail
