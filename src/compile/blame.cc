// SPDX-License-Identifier: Apache-2.0
// Which kernel or pass made a plan differ from its reference.
#include <algorithm>
#include <set>

#include "base/error.h"
#include "compare/difference.h"
#include "compile/compile.h"
#include "compile/verify.h"
#include "oracle/oracle.h"
#include "passes/pipeline.h"
#include "runtime/executor.h"

namespace vitrail {
namespace {

// Reference values are kept for as many steps at a time as fit here; a model with more is replayed
// in several windows, each with a run of the oracle.
constexpr int64_t kMostBytes = int64_t{2} << 30;

bool agree(const std::vector<Tensor>& got, const std::vector<Tensor>& wanted,
           const BuildOptions& options) {
  for (size_t i = 0; i < got.size(); ++i) {
    const Difference d = compare(got[i], wanted[i], tolerance(wanted[i], options, 1), 0);
    if (!d.same_shape || d.outside > 0) return false;
  }
  return true;
}

class Replay {
 public:
  Replay(const ir::Graph& fused, const Plan& plan, const BuildOptions& options,
         const KernelSet& kernels, const std::vector<Tensor>& inputs)
      : fused_(fused),
        plan_(plan),
        options_(options),
        inputs_(inputs),
        executor_(std::shared_ptr<const Plan>(&plan, [](const Plan*) {}),
                  {.threads = options.threads,
                   .poison = true,
                   .kernels = kernels.all,
                   .device = options.device}) {
    for (size_t i = 0; i < inputs.size(); ++i) executor_.set_input(i, inputs[i]);
    executor_.bind();
  }

  /// The first guilty launch. `outputs`: those of the fused graph by the oracle.
  Blame run(std::vector<Tensor>& outputs) {
    for (next_ = 0; next_ < plan_.steps.size() && found_.kind == Blame::Kind::nothing;) {
      open_window();
      oracle::Options observing;
      observing.observe = [&](ir::NodeId id, const std::vector<Tensor>& values) {
        const ir::Node& node = fused_.node(id);
        for (size_t i = 0; i < node.outputs.size(); ++i)
          if (node.outputs[i].valid()) keep(fused_.value(node.outputs[i]).name, values[i]);
      };
      for (size_t i = 0; i < inputs_.size(); ++i)
        keep(fused_.value(fused_.inputs[i]).name, inputs_[i]);
      outputs = oracle::run(fused_, inputs_, observing);
      RunHooks hooks;
      hooks.before = [this](int, const Step& step) {
        if (!inside(step)) return;
        for (int v : step.inputs) give(v);
      };
      hooks.after = [this](int index, const Step& step) {
        if (inside(step) && found_.kind == Blame::Kind::nothing) judge(index, step);
      };
      executor_.run(hooks);
    }
    return found_;
  }

 private:
  // As many steps of the plan's top level as reference values fit.
  void open_window() {
    wanted_.clear();
    values_.clear();
    begin_ = next_;
    int64_t bytes = 0;
    for (; next_ < plan_.steps.size() && (bytes < kMostBytes || next_ == begin_); ++next_)
      for (const auto* list : {&plan_.steps[next_].inputs, &plan_.steps[next_].outputs})
        for (int v : *list) {
          if (v < 0 || !wanted_.insert(plan_.values[static_cast<size_t>(v)].name).second) continue;
          const Shape& dims = plan_.values[static_cast<size_t>(v)].dims;
          if (known(dims))
            bytes += element_count(eval(dims, executor_.symbols())) *
                     static_cast<int64_t>(size_of(plan_.values[static_cast<size_t>(v)].dtype));
        }
  }
  bool known(const Shape& dims) const {
    std::set<std::string> used;
    for (const Expr& d : dims) d.collect_symbols(used);
    return std::all_of(used.begin(), used.end(),
                       [&](const std::string& s) { return executor_.symbols().contains(s); });
  }
  void keep(const std::string& name, const Tensor& value) {
    if (wanted_.contains(name)) values_[name] = value;
  }
  bool inside(const Step& step) const {
    return step.kind == Step::Kind::launch && &step >= plan_.steps.data() + begin_ &&
           &step < plan_.steps.data() + next_;
  }
  const Tensor* reference(int v) const {
    if (v < 0) return nullptr;
    const auto found = values_.find(plan_.values[static_cast<size_t>(v)].name);
    return found == values_.end() ? nullptr : &found->second;
  }
  void give(int v) {
    const Tensor* value = reference(v);
    if (!value) return;
    const PlanValue& target = plan_.values[static_cast<size_t>(v)];
    const PlanBuffer::Kind kind = plan_.buffers[static_cast<size_t>(target.buffer)].kind;
    if (kind == PlanBuffer::Kind::arena || kind == PlanBuffer::Kind::output)
      executor_.write_value(v, value->cast(target.dtype));
  }
  void judge(int index, const Step& step) {
    for (int v : step.outputs) {
      const Tensor* wanted = reference(v);
      const BoundStep* bound = executor_.bound_step(index);
      if (!wanted || !bound || !(bound->kernel || bound->choice)) continue;
      const double allowed = tolerance(*wanted, options_, 0);
      const Difference d = compare(executor_.read_value(v), *wanted, allowed, 0);
      if (d.same_shape && d.outside == 0) continue;
      found_ = {Blame::Kind::kernel, bound->kernel ? bound->kernel->name : bound->choice->kernel,
                fmt::format("step '{}' differs from its reference by {:.3g}, allowed are {:.3g}",
                            printable(step.name), d.abs.max, allowed)};
      return;
    }
  }

  const ir::Graph& fused_;
  const Plan& plan_;
  const BuildOptions& options_;
  const std::vector<Tensor>& inputs_;
  Executor executor_;
  size_t begin_ = 0, next_ = 0;  // the window
  std::set<std::string> wanted_;
  std::map<std::string, Tensor> values_;
  Blame found_;
};

}  // namespace

Blame find_blame(const ir::Graph& imported, const ir::Graph& fused, const Plan& plan,
                 const BuildOptions& options, const KernelSet& kernels, const FailedTrial& trial,
                 References& references) {
  std::vector<Tensor> outputs;
  const Blame kernel = Replay(fused, plan, options, kernels, trial.inputs).run(outputs);
  if (kernel.kind != Blame::Kind::nothing) return kernel;
  const std::vector<Tensor>& wanted = references.outputs(trial.key, trial.inputs);
  if (agree(outputs, wanted, options)) return {};
  std::set<std::string> tried(options.disabled_passes.begin(), options.disabled_passes.end());
  for (const passes::Pass& pass : passes::pipeline()) {
    if (!tried.insert(pass.name).second) continue;
    ir::Graph graph = imported.clone();
    apply_shapes(graph, options.shapes);
    graph.infer_all();
    std::vector<std::string> disabled = options.disabled_passes;
    disabled.emplace_back(pass.name);
    passes::run(graph, {.disabled = disabled, .observe = {}});
    if (agree(oracle::run(graph, trial.inputs), wanted, options))
      return {Blame::Kind::pass, pass.name,
              "the graph it leaves does not mean what the model means"};
  }
  return {};
}

}  // namespace vitrail
