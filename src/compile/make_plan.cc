// SPDX-License-Identifier: Apache-2.0
// From a laid-out graph to the plan's tables.
#include <algorithm>
#include <map>

#include "compile/compile.h"
#include "compile/layout.h"
#include "kernels/kernel.h"
#include "passes/pipeline.h"

namespace vitrail {
namespace {

class PlanMaker {
 public:
  PlanMaker(const ir::Graph& graph, const Bindings& opt, const BuildOptions& options, Layout layout)
      : graph_(graph), opt_(opt), options_(options), layout_(std::move(layout)) {}

  Plan run() {
    plan_.model_name = graph_.name;
    plan_.metadata = graph_.metadata;
    for (const auto& [name, symbol] : graph_.symbols) {
      PlanSymbol out{.name = name, .kind = static_cast<PlanSymbol::Kind>(symbol.kind), .bound = symbol.bound};
      if (symbol.kind == ir::SymbolKind::input) {
        out.min = symbol.range.low;
        out.max = symbol.range.high;
        out.opt = opt_.at(name);
      }
      plan_.symbols.push_back(std::move(out));
    }
    for (const Equality& e : graph_.guards) plan_.guards.push_back({e.a, e.b});
    buffers();
    for (const LaidStep& step : layout_.steps) plan_.steps.push_back(make_step(step));
    ends();
    return std::move(plan_);
  }

 private:
  void buffers() {
    for (const LaidBuffer& laid : layout_.buffers) {
      PlanBuffer b;
      b.bytes = laid.elements * Expr(static_cast<int64_t>(size_of(laid.dtype)));
      b.first = INT32_MAX;
      b.last = -1;
      switch (laid.kind) {
        case LaidBuffer::Kind::arena: break;
        case LaidBuffer::Kind::input:
          b.kind = PlanBuffer::Kind::input;
          b.io = index_of(graph_.inputs, laid.value);
          break;
        case LaidBuffer::Kind::output:
          b.kind = PlanBuffer::Kind::output;
          b.io = index_of(graph_.outputs, laid.value);
          break;
        case LaidBuffer::Kind::constant:
          b.kind = PlanBuffer::Kind::constant;
          b.constant = add_constant(graph_.value(laid.value).constant);
          break;
      }
      plan_.buffers.push_back(std::move(b));
    }
    for (ir::ValueId in : graph_.inputs) plan_.inputs.push_back({graph_.value(in).name, io_value(in, LaidBuffer::Kind::input)});
    for (ir::ValueId out : graph_.outputs) plan_.outputs.push_back({graph_.value(out).name, io_value(out, LaidBuffer::Kind::output)});
  }
  static int index_of(const std::vector<ir::ValueId>& list, ir::ValueId v) {
    return static_cast<int>(std::find(list.begin(), list.end(), v) - list.begin());
  }
  int io_value(ir::ValueId v, LaidBuffer::Kind kind) {
    for (size_t i = 0; i < layout_.buffers.size(); ++i)
      if (layout_.buffers[i].kind == kind && layout_.buffers[i].value == v)
        return add_value(graph_.value(v).name, graph_.value(v).dtype, graph_.value(v).shape, {static_cast<int>(i), 0, row_major(graph_.value(v).shape)});
    fail(Code::internal, "'{}' has no buffer", graph_.value(v).name);
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
    return add_value(name, t.dtype(), dims, {static_cast<int>(plan_.buffers.size()) - 1, 0, row_major(dims)});
  }

  Step make_step(const LaidStep& laid) {
    Step step;
    step.name = laid.name;
    if (laid.node.valid()) step.sources = graph_.node(laid.node).sources;
    if (laid.host) {
      host(laid, step);
    } else {
      launch(laid, step);
    }
    return step;
  }

  int value_at(const LaidStep& laid, bool output, size_t i) {
    const ir::ValueId v = (output ? laid.output_values : laid.input_values)[i];
    const ir::Storage& s = (output ? laid.outputs : laid.inputs)[i];
    if (!v.valid()) return -1;
    const auto key = std::make_tuple(v.index, s.buffer, s.offset.str(), to_string(s.strides));
    const auto [at, fresh] = seen_.emplace(key, 0);
    if (fresh) at->second = add_value(graph_.value(v).name, graph_.value(v).dtype, graph_.value(v).shape, s);
    return at->second;
  }

  void launch(const LaidStep& laid, Step& step) {
    step.kind = Step::Kind::launch;
    step.problem = laid.lowered.problem;
    step.problem.fixed_order = options_.deterministic;
    const KernelFamily* family = find_family(step.problem.family);
    require(family != nullptr, Code::internal, "no kernel family '{}'", step.problem.family);
    for (size_t i = 0; i < laid.inputs.size(); ++i) {
      const bool copy = !laid.node.valid();
      const LoweredOperand* operand = copy ? nullptr : &laid.lowered.inputs[i];
      if (!copy && (operand->io < 0 || operand->packed)) {
        const Tensor& dense = operand->io < 0 ? operand->constant : graph_.value(laid.input_values[i]).constant;
        const Tensor packed = operand->packed && family->pack ? family->pack(step.problem, i, dense) : dense;
        const std::string name = operand->io < 0 ? laid.name + ".weight" : graph_.value(laid.input_values[i]).name;
        step.inputs.push_back(constant_value(name, packed));
      } else {
        step.inputs.push_back(value_at(laid, false, i));
      }
    }
    for (size_t i = 0; i < laid.outputs.size(); ++i) step.outputs.push_back(value_at(laid, true, i));
  }

  void host(const LaidStep& laid, Step& step) {
    const ir::Node& node = graph_.node(laid.node);
    step.kind = Step::Kind::host;
    step.domain = node.op->domain;
    step.op = node.op->name;
    step.attrs = node.attrs;
    for (size_t i = 0; i < laid.inputs.size(); ++i) step.inputs.push_back(value_at(laid, false, i));
    for (size_t i = 0; i < laid.outputs.size(); ++i) {
      step.outputs.push_back(value_at(laid, true, i));
      if (!laid.output_values[i].valid()) continue;
      const Shape& shape = graph_.value(laid.output_values[i]).shape;
      for (size_t axis = 0; axis < shape.size(); ++axis) {
        const auto symbol = graph_.symbols.find(shape[axis].str());
        if (symbol != graph_.symbols.end() && symbol->second.kind == ir::SymbolKind::data && symbol->first.rfind(node.name, 0) == 0)
          step.data_extents.push_back({static_cast<int>(i), static_cast<int>(axis), symbol->first});
      }
    }
  }

  void ends() {
    for (size_t s = 0; s < plan_.steps.size(); ++s) {
      const auto touch = [&](int value) {
        if (value < 0) return;
        PlanBuffer& b = plan_.buffers[static_cast<size_t>(plan_.values[static_cast<size_t>(value)].buffer)];
        b.first = std::min(b.first, static_cast<int>(s));
        b.last = std::max(b.last, static_cast<int>(s));
      };
      for (int v : plan_.steps[s].inputs) touch(v);
      for (int v : plan_.steps[s].outputs) touch(v);
    }
    for (PlanBuffer& b : plan_.buffers)
      if (b.last < 0) b.first = b.last = 0;
  }

  const ir::Graph& graph_;
  const Bindings& opt_;
  const BuildOptions& options_;
  Layout layout_;
  Plan plan_;
  std::map<std::tuple<uint32_t, int, std::string, std::string>, int> seen_;
};

// Whether any kernel takes the step's problem as it is laid out.
bool has_kernel(const Problem& problem, std::string* why) {
  for (const CpuKernel* kernel : all_cpu_kernels()) {
    if (problem.family != kernel->family || kernel->isa != Isa::baseline) continue;
    const Refusal refusal = kernel->accepts(problem);
    if (refusal.empty()) return true;
    *why += fmt::format("{}{}: {}", why->empty() ? "" : "; ", kernel->name, refusal);
  }
  if (why->empty()) *why = "no kernel of the family";
  return false;
}

}  // namespace

Plan make_plan(ir::Graph& graph, const Bindings& opt, const BuildOptions& options, std::vector<std::string>& account) {
  // Each round dissolves what was refused; bodies shrink, so the rounds end.
  for (;;) {
    std::vector<Refused> refused;
    Layout layout = lay_out(graph, opt, refused);
    if (refused.empty())
      for (const LaidStep& step : layout.steps) {
        std::string why;
        if (step.host || has_kernel(step.lowered.problem, &why)) continue;
        require(step.node.valid(), Code::internal, "no kernel copies {}: {}", step.lowered.problem.str(), why);
        refused.push_back({step.node, why});
      }
    if (refused.empty()) return PlanMaker(graph, opt, options, std::move(layout)).run();
    for (const Refused& r : refused) {
      const ir::Node& node = graph.node(r.node);
      account.push_back(fmt::format("not fused as {}: '{}' because {}", node.family, printable(node.name), r.why));
      passes::dissolve_refused(graph, r.node);
    }
    ir::verify(graph, "dissolving refused fusions");
  }
}

}  // namespace vitrail
