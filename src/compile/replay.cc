// SPDX-License-Identifier: Apache-2.0
// Each step of an unchanged plan, fed with the reference's values. Marking values as outputs
// instead would change what is fused and with it what is measured.
#include "compile/replay.h"

#include <algorithm>

#include "compile/verify.h"
#include "plan/validate.h"

namespace vitrail {
namespace {

bool is_discontinuous(const Step& step) {
  if (step.kind != Step::Kind::host) return false;
  const OpDef* op = find_op(step.domain, step.op);
  return op && op->traits.discontinuous;
}

// Buffers that the runtime or the steps inside read while a control step runs.
void collect_read(const Plan& plan, const Step& step, std::set<int>& buffers) {
  const auto add = [&](const std::vector<int>& values) {
    for (const int v : values)
      if (v >= 0) buffers.insert(plan.values[static_cast<size_t>(v)].buffer);
  };
  for (const auto& results : step.block_outputs) add(results);
  for (const Block& block : step.blocks)
    for_each_step(block, [&](const Step& inner) {
      add(inner.inputs);
      for (const auto& results : inner.block_outputs) add(results);
    });
}

}  // namespace

std::string body_path(const std::string& owner, bool branch, size_t body) {
  return owner + (!branch ? "/body/" : body == 0 ? "/then/" : "/else/");
}

Replay::Replay(std::vector<const ir::Graph*> graphs, std::shared_ptr<const Plan> plan,
               const std::vector<Tensor>& inputs, const Options& options)
    : graphs_(std::move(graphs)),
      plan_(std::move(plan)),
      inputs_(inputs),
      options_(options),
      executor_(plan_, options.executor) {
  std::vector<int> around;
  list_steps(plan_->steps, "", around, {});
  for (size_t i = 0; i < graphs_.size(); ++i) list_values(i, *graphs_[i], "");
  taken_ = as_taken(*plan_, inputs);
  for (size_t i = 0; i < taken_.size(); ++i) executor_.set_input(i, taken_[i]);
  executor_.bind();
}

void Replay::list_steps(const Block& block, const std::string& scope, std::vector<int>& around,
                        std::vector<Visible> visible) {
  const auto depth = static_cast<int>(around.size());
  for (const Step& step : block) {
    const auto index = static_cast<int>(steps_.size());
    const std::string path = scope + step.name;
    Entry entry{&step, path, scope, depth, is_discontinuous(step), {}};
    for (const int v : step.inputs)
      if (v >= 0) entry.reads.emplace_back(index, v);
    around.push_back(index);
    if (!step.blocks.empty()) {
      std::set<int> buffers;
      collect_read(*plan_, step, buffers);
      for (const Visible& v : visible)
        if (buffers.contains(plan_->values[static_cast<size_t>(v.value)].buffer))
          entry.reads.emplace_back(v.index < 0 ? around[static_cast<size_t>(v.depth)] : v.index,
                                   v.value);
    }
    steps_.push_back(std::move(entry));
    for (size_t i = 0; i < step.blocks.size(); ++i) {
      std::vector<Visible> inner = visible;
      if (i < step.block_inputs.size())
        for (const int v : step.block_inputs[i])
          if (v >= 0) inner.push_back({-1, depth + 1, v});
      list_steps(step.blocks[i], body_path(path, step.kind == Step::Kind::branch, i), around,
                 std::move(inner));
    }
    around.pop_back();
    for (const int v : step.outputs)
      if (v >= 0) visible.push_back({index, depth, v});
  }
}

void Replay::list_values(size_t graph, const ir::Graph& body, const std::string& scope) {
  const auto made = [&](ir::ValueId v) {
    if (v.valid()) makers_.try_emplace(scope + body.value(v).name, graph);
  };
  for (ir::ValueId v : body.inputs) made(v);
  for (ir::NodeId id : body.topological_order()) {
    const ir::Node& node = body.node(id);
    for (ir::ValueId v : node.outputs) made(v);
    if (node.is_fusion()) continue;
    for (size_t i = 0; i < node.bodies.size(); ++i)
      list_values(graph, *node.bodies[i], body_path(scope + node.name, node.is("If"), i));
  }
}

std::string Replay::key(int index, int value) const {
  return steps_[static_cast<size_t>(index)].scope + plan_->values[static_cast<size_t>(value)].name;
}

int64_t Replay::bytes_of(int value, const Bindings& symbols) const {
  const PlanValue& v = plan_->values[static_cast<size_t>(value)];
  return checked_mul(element_count(eval(v.dims, symbols)), static_cast<int64_t>(size_of(v.dtype)));
}

bool Replay::next_window() {
  const bool first = end_ == 0;
  begin_ = end_;
  wanted_.clear();
  Bindings symbols = executor_.symbols();
  add_data_bounds(*plan_, symbols);
  int64_t bytes = 0;
  const auto want = [&](int index, int value) {
    std::string name = key(index, value);
    if (!makers_.contains(name) || !wanted_.insert(std::move(name)).second) return;
    const int copies = steps_[static_cast<size_t>(index)].depth > 0 ? 2 : 1;
    bytes = checked_add(bytes, checked_mul(bytes_of(value, symbols), copies));
  };
  for (const Entry& entry : steps_)
    if (entry.discontinuous)
      for (const auto& [index, value] : entry.reads) want(index, value);
  const std::set<std::string, std::less<>> pinned = wanted_;
  std::erase_if(known_, [&](const auto& entry) { return !pinned.contains(entry.first); });
  if (!first)
    for (const std::string& name : pinned) wanted_.erase(name);
  for (; end_ < steps_.size() && (bytes < options_.window_bytes || end_ == begin_); ++end_) {
    for (const auto& [index, value] : steps_[end_].reads) want(index, value);
    for (const int v : steps_[end_].step->outputs)
      if (v >= 0) want(static_cast<int>(end_), v);
  }
  if (begin_ == end_) return false;
  for (size_t i = 0; i < graphs_.size(); ++i)
    if (std::any_of(wanted_.begin(), wanted_.end(),
                    [&](const std::string& name) { return makers_.at(name) == i; }))
      observe(i);
  return true;
}

void Replay::observe(size_t graph) {
  std::map<std::string, int64_t, std::less<>> times;  // that a body began
  const std::function<std::string(const oracle::Place&)> scope_of =
      [&](const oracle::Place& place) -> std::string {
    if (!place.outer) return "";
    const ir::Node& node = place.outer->graph.node(place.node);
    return body_path(scope_of(*place.outer) + node.name, node.is("If"), place.body);
  };
  const auto keep = [&](const std::string& scope, const ir::Graph& body, ir::ValueId v,
                        const Tensor& tensor) {
    if (!v.valid() || !tensor.defined()) return;
    const std::string name = scope + body.value(v).name;
    if (!wanted_.contains(name) || makers_.at(name) != graph) return;
    const int64_t time = times[scope];
    Kept& kept = known_[name];
    (time == 0 ? kept.first : kept.last) = tensor;
    kept.last_time = time;
  };
  oracle::Options options{.precision = options_.precision, .observe = {}, .enter = {}};
  options.enter = [&](const oracle::Place& place, const std::vector<Tensor>& inputs) {
    const std::string scope = scope_of(place);
    const auto [at, fresh] = times.try_emplace(scope, 0);
    if (!fresh) ++at->second;
    for (size_t i = 0; i < inputs.size(); ++i)
      keep(scope, place.graph, place.graph.inputs[i], inputs[i]);
  };
  options.observe = [&](const oracle::Place& place, ir::NodeId id,
                        const std::vector<Tensor>& outputs) {
    const std::string scope = scope_of(place);
    const ir::Node& node = place.graph.node(id);
    for (size_t i = 0; i < node.outputs.size(); ++i)
      keep(scope, place.graph, node.outputs[i], outputs[i]);
  };
  std::vector<Tensor> outputs = oracle::run(*graphs_[graph], inputs_, options);
  if (graph == 0) outputs_ = std::move(outputs);
}

const Tensor* Replay::reference(int value, Round round) const {
  if (value < 0) return nullptr;
  const auto found = known_.find(key(round.index, value));
  if (found == known_.end()) return nullptr;
  const Kept& kept = found->second;
  const Tensor* t = round.times == 0                ? &kept.first
                    : round.times == kept.last_time ? &kept.last
                                                    : nullptr;
  const Shape& dims = plan_->values[static_cast<size_t>(value)].dims;
  return t && t->dims() == eval(dims, executor_.symbols()) ? t : nullptr;
}

void Replay::write(int index, int value) {
  const Tensor* t = reference(value, {index, times_[static_cast<size_t>(index)]});
  if (!t) return;
  const PlanValue& v = plan_->values[static_cast<size_t>(value)];
  const PlanBuffer::Kind kind = plan_->buffers[static_cast<size_t>(v.buffer)].kind;
  if (kind == PlanBuffer::Kind::arena || kind == PlanBuffer::Kind::output)
    executor_.write_value(value, t->cast(v.dtype));
}

void Replay::run(const std::function<bool(int index)>& feed,
                 const std::function<void(Round, int value, const Tensor& reference)>& judge,
                 const std::function<void(const StepTime&)>& trace) {
  times_.assign(steps_.size(), -1);
  RunHooks hooks;
  hooks.before = [&](int index, const Step&) {
    ++times_[static_cast<size_t>(index)];
    if (!feed(index)) return;
    for (const auto& [at, value] : steps_[static_cast<size_t>(index)].reads) write(at, value);
  };
  hooks.after = [&](int index, const Step& step) {
    const auto at = static_cast<size_t>(index);
    if (at < begin_ || end_ <= at) return;
    const Round round{index, times_[at]};
    for (const int value : step.outputs)
      if (const Tensor* wanted = reference(value, round)) judge(round, value, *wanted);
  };
  hooks.trace = trace;
  executor_.run(hooks);
}

}  // namespace vitrail
