// SPDX-License-Identifier: Apache-2.0
// The public API over plan files and executors.
#include "vitrail/session.h"

#include <algorithm>

#include "backends/cuda/driver.h"
#include "base/error.h"
#include "plan/plan_file.h"
#include "plan/validate.h"
#include "runtime/executor.h"
#include "runtime/trace.h"

namespace vitrail {

struct LoadedPlan::State {
  PlanFile file;
  std::shared_ptr<const Plan> plan;
  std::vector<TensorSpec> inputs, outputs;
};

namespace {
std::vector<TensorSpec> specs(const Plan& plan, const std::vector<PlanTensorInfo>& list) {
  const Bindings min = symbols_at(plan, &PlanSymbol::min), opt = symbols_at(plan, &PlanSymbol::opt),
                 max = symbols_at(plan, &PlanSymbol::max);
  std::vector<TensorSpec> out;
  for (const PlanTensorInfo& info : list) {
    const PlanValue& v = plan.values[info.value];
    TensorSpec& spec = out.emplace_back(TensorSpec{
        info.name, v.dtype, {}, eval(v.dims, min), eval(v.dims, opt), eval(v.dims, max)});
    for (const Expr& d : v.dims) spec.dims.push_back(d.str());
  }
  return out;
}
size_t find(const std::vector<PlanTensorInfo>& list, std::string_view name, const char* what) {
  for (size_t i = 0; i < list.size(); ++i)
    if (list[i].name == name) return i;
  std::string present;
  for (const PlanTensorInfo& info : list)
    present += fmt::format("{}'{}'", present.empty() ? "" : ", ", printable(info.name));
  fail(Code::usage, "the plan has no {} '{}'; its {}s are {}", what, printable(std::string(name)),
       what, present);
}
}  // namespace

LoadedPlan LoadedPlan::load(const std::string& path, const LoadOptions& options) {
  auto state = std::make_shared<State>();
  state->file =
      load_plan_file(path, options.verify_weights ? WeightCheck::at_load : WeightCheck::on_request);
  const auto& sections = state->file.targets;
  state->plan = options.target.empty() && sections.size() == 1
                    ? sections[0]
                    : state->file.target(options.target.empty() ? "cpu" : options.target);
  state->inputs = specs(*state->plan, state->plan->inputs);
  state->outputs = specs(*state->plan, state->plan->outputs);
  return LoadedPlan(std::move(state));
}
const std::vector<TensorSpec>& LoadedPlan::inputs() const { return state_->inputs; }
const std::vector<TensorSpec>& LoadedPlan::outputs() const { return state_->outputs; }
const std::map<std::string, std::string>& LoadedPlan::metadata() const {
  return state_->plan->metadata;
}
const std::string& LoadedPlan::model_name() const { return state_->plan->model_name; }
const std::string& LoadedPlan::target() const { return state_->plan->target; }
const std::string& LoadedPlan::tuned_for() const { return state_->plan->tuned_for; }
uint64_t LoadedPlan::weight_bytes() const { return state_->file.weight_bytes; }
void LoadedPlan::verify_weights() const { state_->file.verify_weights(); }

struct Session::Impl {
  Impl(LoadedPlan p, const SessionOptions& o, std::shared_ptr<const Plan> shared)
      : plan(std::move(p)),
        executor(std::move(shared),
                 {.threads = o.threads, .poison = o.poison, .device = o.device}) {}
  LoadedPlan plan;
  Executor executor;
  RunHooks hooks;
};

Session::Session(LoadedPlan plan, const SessionOptions& options) {
  auto shared = plan.state_->plan;
  impl_ = std::make_unique<Impl>(std::move(plan), options, std::move(shared));
}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

const LoadedPlan& Session::plan() const { return impl_->plan; }
void Session::set_input(std::string_view name, DType dtype, std::span<const int64_t> dims,
                        const void* data) {
  impl_->executor.set_input(find(impl_->executor.plan().inputs, name, "input"), dtype, dims, data);
}
void Session::set_output(std::string_view name, void* data, size_t bytes) {
  impl_->executor.set_output(find(impl_->executor.plan().outputs, name, "output"), data, bytes);
}
void Session::set_symbol(const std::string& name, int64_t value) {
  impl_->executor.set_symbol(name, value);
}
void Session::bind() { impl_->executor.bind(); }
Tensor Session::host_tensor(DType dtype, const Dims& dims) const {
  return impl_->executor.host_tensor(dtype, dims);
}
void Session::run() { impl_->executor.run(impl_->hooks); }
void Session::run_async() { impl_->executor.start(impl_->hooks); }
void Session::wait() { impl_->executor.finish(); }

TensorView Session::output(std::string_view name) const {
  const Executor& e = impl_->executor;
  const size_t i = find(e.plan().outputs, name, "output");
  require(!e.under_way(), Code::usage, "output '{}' is read before wait()", name);
  require(e.output_data(i) != nullptr, Code::usage, "output '{}' is read before a run", name);
  const DType dtype = e.plan().values[e.plan().outputs[i].value].dtype;
  const Dims& dims = e.output_dims(i);
  return {dtype, dims, e.output_data(i), static_cast<size_t>(element_count(dims)) * size_of(dtype)};
}

void Session::set_trace(std::function<void(const StepReport&)> trace) {
  impl_->hooks.trace = nullptr;
  if (trace)
    impl_->hooks.trace = [trace = std::move(trace)](const StepTime& t) {
      trace({t.index, t.step->name, t.kernel, t.microseconds});
    };
}
std::vector<double> Session::time_device(int rounds, int replays) {
  return impl_->executor.time_device(rounds, replays);
}
Trace Session::trace(const TraceOptions& options) { return trace_runs(impl_->executor, options); }
bool Session::on_device() const { return impl_->executor.on_device(); }
bool Session::lost() const { return on_device() && cuda::lost(); }
uint64_t Session::memory_bytes() const {
  const Executor::MemoryUse use = impl_->executor.memory();
  return static_cast<uint64_t>(use.arena + use.scratch + use.outputs);
}
int Session::threads() const { return impl_->executor.threads(); }

}  // namespace vitrail
