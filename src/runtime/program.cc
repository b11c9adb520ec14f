// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/error.h"
#include "plan/validate.h"
#include "runtime/binding.h"

namespace vitrail {

Program::Program(std::shared_ptr<const Plan> plan, std::span<const CpuKernel* const> kernels,
                 int workers)
    : plan_(std::move(plan)), kernels_(kernels), workers_(workers) {
  validate(*plan_);
  for (const PlanSymbol& s : plan_->symbols)
    if (s.kind == PlanSymbol::Kind::data) data_symbols_.insert(s.name);
  steps_.reserve(static_cast<size_t>(count_steps(plan_->steps)));
  root_ = add_block(plan_->steps, false);
}

bool Program::depends_on_data(const Expr& e) const {
  if (e.is_constant() || data_symbols_.empty()) return false;
  std::set<std::string> used;
  e.collect_symbols(used);
  return std::any_of(used.begin(), used.end(),
                     [&](const std::string& s) { return data_symbols_.count(s) > 0; });
}
bool Program::depends_on_data(const Shape& shape) const {
  return std::any_of(shape.begin(), shape.end(), [&](const Expr& e) { return depends_on_data(e); });
}

const PlanSymbol& Program::symbol(const std::string& name) const {
  const auto found = std::find_if(plan_->symbols.begin(), plan_->symbols.end(),
                                  [&](const PlanSymbol& s) { return s.name == name; });
  require(found != plan_->symbols.end(), Code::internal, "no symbol '{}'", printable(name));
  return *found;
}

std::vector<int> Program::add_block(const Block& block, bool guarded) {
  std::vector<int> indices;
  for (const Step& step : block) {
    const int index = static_cast<int>(steps_.size());
    indices.push_back(index);
    steps_.push_back({.step = &step, .index = index, .data_dependent = guarded});
    with_context(fmt::format("step '{}'", printable(step.name)), [&] {
      if (step.kind == Step::Kind::launch) resolve_launch(steps_[index]);
      if (step.kind == Step::Kind::host) resolve_host(steps_[index]);
    });
    for (size_t b = 0; b < step.blocks.size(); ++b) {
      std::vector<int> list = add_block(step.blocks[b], guarded || has_guards(step, b));
      for (const int i : list) {
        std::vector<std::string>& names = steps_[index].inner_symbols;
        for (const Step::DataExtent& d : steps_[i].step->data_extents) names.push_back(d.symbol);
        names.insert(names.end(), steps_[i].inner_symbols.begin(), steps_[i].inner_symbols.end());
      }
      steps_[index].blocks.push_back(std::move(list));
    }
  }
  return indices;
}

void Program::resolve_launch(StepInfo& info) const {
  const Problem& problem = info.step->problem;
  const auto uses_data = [&](const Operand& o) {
    return depends_on_data(o.dims) || depends_on_data(o.strides);
  };
  info.data_dependent |= std::any_of(problem.inputs.begin(), problem.inputs.end(), uses_data) ||
                         std::any_of(problem.outputs.begin(), problem.outputs.end(), uses_data);
  for (const auto* list : {&info.step->inputs, &info.step->outputs})
    for (const int v : *list) info.data_dependent |= depends_on_data(plan_->values[v].offset);
  info.family = find_family(problem.family);
  for (const KernelChoice& choice : info.step->choices) {
    for (const auto& [symbol, range] : choice.when)
      info.data_dependent |= data_symbols_.count(symbol) > 0;
    require(on_device() == !choice.launches.empty(), Code::bad_input,
            "kernel '{}' has {} machine code, in a plan for '{}'", printable(choice.kernel),
            on_device() ? "no" : "a GPU's", printable(plan_->target));
    if (on_device()) continue;
    const auto found = std::find_if(kernels_.begin(), kernels_.end(),
                                    [&](const CpuKernel* k) { return k->name == choice.kernel; });
    require(found != kernels_.end(), Code::wrong_target,
            "the plan wants the kernel '{}', which this build of vitrail does not have: build the "
            "plan again with it",
            printable(choice.kernel));
    const CpuKernel* kernel = *found;
    require(kernel->family == problem.family, Code::bad_input,
            "kernel '{}' is of family '{}', the problem of '{}'", kernel->name, kernel->family,
            printable(problem.family));
    const bool usable =
        kernel->isa <= this_machine().isa &&
        (plan_->tuned_isa < 0 || static_cast<int>(this_machine().isa) <= plan_->tuned_isa);
    if (usable) {
      const Refusal refusal = kernel->accepts(problem);
      require(refusal.empty(), Code::bad_input,
              "kernel '{}' refuses the problem the plan gives it: {}", kernel->name, refusal);
    }
    info.choices.push_back(usable ? kernel : nullptr);
  }
}

void Program::resolve_host(StepInfo& info) const {
  const Step& step = *info.step;
  info.op = find_op(step.domain, step.op);
  require(info.op != nullptr, Code::wrong_target,
          "the plan wants the op '{}{}{}', which this build of vitrail does not have: build the "
          "plan again with it",
          printable(step.domain), step.domain.empty() ? "" : "::", printable(step.op));
  const OpDef& op = *info.op;
  const auto within = [&](size_t n, int low, int high, const char* what) {
    require(n >= static_cast<size_t>(low) && n <= static_cast<size_t>(high), Code::bad_input,
            "{}: {} {}, expected {} to {}", op.name, n, what, low, high);
  };
  within(step.inputs.size(), op.min_inputs, op.max_inputs, "inputs");
  within(step.outputs.size(), op.min_outputs, op.max_outputs, "outputs");
  require(op.reference != nullptr, Code::unsupported, "{} has no reference", op.name);
  for (int i = 0; i < op.min_inputs; ++i)
    require(step.inputs[i] >= 0, Code::bad_input, "{}: input {} is absent", op.name, i);
  for (const AttrSpec& spec : op.attrs) {
    if (!step.attrs.has(spec.name)) {
      require(!spec.required, Code::bad_input, "{}: attribute '{}' is missing", op.name, spec.name);
      continue;
    }
    require(step.attrs.all().find(spec.name)->second.index() == static_cast<size_t>(spec.kind),
            Code::bad_input, "{}: attribute '{}' is of another kind", op.name, spec.name);
  }
}

const CpuKernel* Program::heuristic(const StepInfo& info) const {
  const Problem& problem = info.step->problem;
  std::string refusals;
  // all_cpu_kernels() has the fastest level first.
  for (const CpuKernel* kernel : kernels_) {
    if (kernel->family != problem.family || kernel->isa > this_machine().isa) continue;
    const Refusal refusal = kernel->accepts(problem);
    if (refusal.empty()) return kernel;
    refusals += fmt::format("; {}: {}", kernel->name, refusal);
  }
  fail(Code::unsupported, "no kernel of family '{}' takes {} on a processor of level {}{}",
       printable(problem.family), printable(problem.str(), 400), name_of(this_machine().isa),
       refusals);
}

const KernelChoice& Program::choose_device(const StepInfo& info, const Bindings& symbols) const {
  for (const KernelChoice& choice : info.step->choices) {
    const bool fits = std::all_of(choice.when.begin(), choice.when.end(), [&](const auto& entry) {
      const auto value = symbols.find(entry.first);
      return value != symbols.end() && entry.second.low <= value->second &&
             value->second <= entry.second.high;
    });
    if (fits) return choice;
  }
  fail(Code::bad_input,
       "no kernel of the plan is for these extents: build it again with them in its range");
}

std::pair<const CpuKernel*, const Tactic*> Program::choose(const StepInfo& info,
                                                           const Bindings& symbols) const {
  for (size_t i = 0; i < info.choices.size(); ++i) {
    const KernelChoice& choice = info.step->choices[i];
    const bool fits = info.choices[i] &&
                      std::all_of(choice.when.begin(), choice.when.end(), [&](const auto& entry) {
                        const auto value = symbols.find(entry.first);
                        return value != symbols.end() && entry.second.low <= value->second &&
                               value->second <= entry.second.high;
                      });
    if (!fits) continue;
    const bool timed = plan_->tuned_threads == 0 || plan_->tuned_threads == workers_;
    return {info.choices[i], timed && !choice.tactic.empty() ? &choice.tactic : nullptr};
  }
  return {heuristic(info), nullptr};
}

}  // namespace vitrail
