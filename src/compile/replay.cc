// SPDX-License-Identifier: Apache-2.0
// Each step of an unchanged plan, fed with the reference's values. Marking values as outputs
// instead would change what is fused and with it what is measured.
#include "compile/replay.h"

#include <algorithm>
#include <set>

#include "compile/compile.h"
#include "oracle/oracle.h"
#include "passes/pipeline.h"
#include "plan/validate.h"
#include "runtime/executor.h"

namespace vitrail {
namespace {

// Runs the graph and keeps what is wanted and not known yet.
void observe(const ir::Graph& graph, const std::vector<Tensor>& inputs, DType precision,
             std::set<std::string, std::less<>>& wanted, ReferenceValues& known) {
  const auto keep = [&](ir::ValueId id, const Tensor& t) {
    if (!id.valid() || !wanted.erase(graph.value(id).name)) return;
    known.emplace(graph.value(id).name, t);
  };
  for (size_t i = 0; i < inputs.size(); ++i) keep(graph.inputs[i], inputs[i]);
  oracle::run(
      graph, inputs,
      {.precision = precision, .observe = [&](ir::NodeId id, const std::vector<Tensor>& outputs) {
         const ir::Node& node = graph.node(id);
         for (size_t i = 0; i < node.outputs.size(); ++i) keep(node.outputs[i], outputs[i]);
       }});
}

// Replaces every fusion by its nodes, those inside fusions too.
void flatten(ir::Graph& graph, size_t body) {
  for (bool changed = true; std::exchange(changed, false);)
    for (ir::NodeId id : graph.topological_order())
      if (graph.node(id).is_fusion()) {
        ir::dissolve(graph, id, std::min(body, graph.node(id).bodies.size() - 1));
        changed = true;
      }
}

ir::Graph fused(const ir::Graph& imported, const Plan& plan) {
  ir::Graph graph = imported.clone();
  apply_shapes(graph, ranges_of(plan));
  graph.infer_all();
  passes::run(graph);
  return graph;
}

bool is_discontinuous(const Step& step) {
  if (step.kind != Step::Kind::host) return false;
  const OpDef* op = find_op(step.domain, step.op);
  return op && op->traits.discontinuous;
}

// Indices of the top steps as hooks count them, depth first.
std::map<int, size_t> top_steps(const Plan& plan) {
  std::map<int, size_t> out;
  int index = 0;
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    out[index++] = i;
    for (const Block& inner : plan.steps[i].blocks) index += count_steps(inner);
  }
  return out;
}

class Replay {
 public:
  Replay(std::shared_ptr<const Plan> plan, const ReferenceValues& known, const StepOptions& options)
      : plan_(std::move(plan)),
        known_(known),
        options_(options),
        executor_(plan_, {.threads = options.threads}),
        top_(top_steps(*plan_)) {
    for (const auto& [index, at] : top_) {
      const Step& step = plan_->steps[at];
      steps_.push_back({.index = index,
                        .step = step.name,
                        .sources = step.sources,
                        .restarted = is_discontinuous(step)});
    }
  }

  std::vector<StepDifference> run(const std::vector<Tensor>& inputs) {
    for (size_t i = 0; i < inputs.size(); ++i) executor_.set_input(i, inputs[i]);
    pass(true);
    pass(false);
    return std::move(steps_);
  }

 private:
  StepDifference* find(int index) {
    const auto at = top_.find(index);
    return at == top_.end() ? nullptr : &steps_[at->second];
  }

  // With `alone` every step starts from the reference, otherwise only those behind which nothing is
  // comparable.
  void pass(bool alone) {
    RunHooks hooks;
    hooks.before = [&](int index, const Step& step) {
      const StepDifference* at = find(index);
      if (!at || (!alone && !at->restarted)) return;
      for (int value : step.inputs) feed(value);
    };
    hooks.after = [&](int index, const Step& step) {
      StepDifference* at = find(index);
      if (!at) return;
      for (int value : step.outputs) look(value, *at, alone);
    };
    hooks.trace = [&](const StepTime& time) {
      if (StepDifference* at = find(time.index)) at->kernel = time.kernel;
    };
    executor_.run(hooks);
  }

  const Tensor* reference(int value) const {
    if (value < 0) return nullptr;
    const PlanValue& v = plan_->values[static_cast<size_t>(value)];
    const auto found = known_.find(v.name);
    return found != known_.end() && found->second.dims() == eval(v.dims, executor_.symbols())
               ? &found->second
               : nullptr;
  }

  void feed(int value) {
    const Tensor* t = reference(value);
    if (!t) return;
    const PlanValue& v = plan_->values[static_cast<size_t>(value)];
    const PlanBuffer::Kind kind = plan_->buffers[static_cast<size_t>(v.buffer)].kind;
    if (kind == PlanBuffer::Kind::arena || kind == PlanBuffer::Kind::output)
      executor_.write_value(value, t->cast(v.dtype));
  }

  // Of several outputs the one that lies farthest away is told.
  void look(int value, StepDifference& step, bool alone) {
    const Tensor* wanted = reference(value);
    if (!wanted) return;
    const Difference d =
        compare(executor_.read_value(value), *wanted, options_.atol, options_.rtol);
    Difference& kept = alone ? step.alone : step.accumulated;
    const bool first = alone ? !step.compared : d.abs.max >= kept.abs.max;
    if (first || d.abs.max > kept.abs.max) {
      kept = d;
      if (alone) step.value = plan_->values[static_cast<size_t>(value)].name;
    }
    step.compared = true;
  }

  std::shared_ptr<const Plan> plan_;
  const ReferenceValues& known_;
  const StepOptions& options_;
  Executor executor_;
  std::map<int, size_t> top_;
  std::vector<StepDifference> steps_;
};

}  // namespace

ReferenceValues reference_values(const ir::Graph& imported, const Plan& plan,
                                 const std::vector<Tensor>& inputs, DType precision) {
  std::set<std::string, std::less<>> wanted;
  for (const Step& step : plan.steps)
    for (const auto* list : {&step.inputs, &step.outputs})
      for (int value : *list)
        if (value >= 0) wanted.insert(plan.values[static_cast<size_t>(value)].name);
  ReferenceValues known;
  const ir::Graph graph = fused(imported, plan);
  observe(graph, inputs, precision, wanted, known);
  // What kernels refused was dissolved when the plan was made, into a body of which this graph
  // tells nothing.
  constexpr size_t kMostBodies = 2;
  for (size_t body = 0; body < kMostBodies && !wanted.empty(); ++body) {
    ir::Graph flat = graph.clone();
    flatten(flat, body);
    const bool helps = std::any_of(wanted.begin(), wanted.end(), [&](const std::string& name) {
      const auto found = flat.find_value(name);
      return found && !flat.value(*found).is_constant();
    });
    if (helps) observe(flat, inputs, precision, wanted, known);
  }
  return known;
}

std::vector<StepDifference> replay_steps(const ir::Graph& imported,
                                         std::shared_ptr<const Plan> plan,
                                         const std::vector<Tensor>& inputs,
                                         const StepOptions& options) {
  const ReferenceValues known = reference_values(imported, *plan, inputs, options.precision);
  return Replay(std::move(plan), known, options).run(inputs);
}

}  // namespace vitrail
