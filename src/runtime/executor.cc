// SPDX-License-Identifier: Apache-2.0
#include "runtime/executor.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/pool.h"
#include "backends/nvtx.h"
#include "base/error.h"
#include "runtime/device_run.h"
#include "runtime/running.h"

namespace vitrail {
namespace {
int worker_count(int threads) {
  require(threads >= 0 && threads <= cpu::kMaxThreads, Code::usage,
          "{} threads: expected 1 to {}, or 0 for all processors", threads, cpu::kMaxThreads);
  return threads == 0 ? std::min(this_machine().cores, cpu::kMaxThreads) : threads;
}
}  // namespace

Executor::Executor(std::shared_ptr<const Plan> plan, ExecutorOptions options)
    : program_(std::move(plan), options.kernels, worker_count(options.threads)), options_(options) {
  const Plan& p = this->plan();
  require(p.target == "cpu" || p.target.starts_with("cuda:"), Code::wrong_target,
          "the plan is for '{}', which this build of vitrail does not know", printable(p.target));
  if (p.target != "cpu") device_ = std::make_unique<DeviceRun>(p, options_.device);
  inputs_.resize(p.inputs.size());
  results_.resize(p.outputs.size());
  bases_.assign(p.buffers.size(), nullptr);
  size_t most_in = 0, most_out = 0;
  for (const StepInfo& info : program_.steps()) {
    most_in = std::max(most_in, info.step->inputs.size());
    most_out = std::max(most_out, info.step->outputs.size());
  }
  arg_inputs_.resize(most_in);
  arg_outputs_.resize(most_out);
}
Executor::~Executor() = default;

void Executor::set_input(size_t index, DType dtype, std::span<const int64_t> dims,
                         const void* data) {
  require(index < inputs_.size(), Code::usage, "input {} of {}", index, inputs_.size());
  const PlanTensorInfo& info = plan().inputs[index];
  const PlanValue& v = plan().values[info.value];
  const auto shape = [&] { return to_string(Dims(dims.begin(), dims.end())); };
  require(dtype == v.dtype, Code::usage, "input '{}': expected element type {}, found {}",
          printable(info.name), name_of(v.dtype), name_of(dtype));
  require(dims.size() == v.dims.size(), Code::usage,
          "input '{}': expected {} dimensions {}, found {} {}", printable(info.name), v.dims.size(),
          to_string(v.dims), dims.size(), shape());
  for (const int64_t d : dims)
    require(d >= 0, Code::usage, "input '{}': negative extent in {}", printable(info.name),
            shape());
  require(reinterpret_cast<uintptr_t>(data) % size_of(dtype) == 0, Code::usage,
          "input '{}': its memory is not aligned to its {} bytes an element", printable(info.name),
          size_of(dtype));
  Input& in = inputs_[index];
  if (!in.set || !std::equal(dims.begin(), dims.end(), in.dims.begin(), in.dims.end())) {
    in.dims.assign(dims.begin(), dims.end());
    changed_ = true;
  }
  in.data = data;
  in.set = true;
}

void Executor::set_output(size_t index, void* data, size_t bytes) {
  require(index < results_.size(), Code::usage, "output {} of {}", index, results_.size());
  require_no_run();
  const PlanTensorInfo& info = plan().outputs[index];
  require(reinterpret_cast<uintptr_t>(data) % size_of(plan().values[info.value].dtype) == 0,
          Code::usage, "output '{}': its memory is not aligned to its elements",
          printable(info.name));
  results_[index].callers = data;
  results_[index].callers_bytes = data ? bytes : 0;
}

void Executor::set_symbol(const std::string& name, int64_t value) {
  const PlanSymbol& s = program_.symbol(name);
  require(s.kind == PlanSymbol::Kind::bind, Code::usage, "symbol '{}' is not for the caller to set",
          printable(name));
  given_[name] = value;
  changed_ = true;
}

void Executor::require_no_run() const {
  require(!under_way_, Code::usage, "a session's run has not ended: wait() for it first");
}

void Executor::bind() {
  require_no_run();
  if (changed_ || !current_) {
    solve_symbols();
    use_binding();
    changed_ = false;
  }
  prepare_memory();
}

void Executor::use_binding() {
  current_ = nullptr;
  const auto fits = [&](const Binding& b) {
    return std::all_of(wanted_.begin(), wanted_.end(), [&](const auto& w) {
      return b.symbols().find(w.first)->second == w.second;
    });
  };
  const auto found = std::find_if(bindings_.begin(), bindings_.end(), fits);
  if (found != bindings_.end()) {
    bindings_.splice(bindings_.begin(), bindings_, found);
  } else {
    bindings_.emplace_front(program_, wanted_);
    if (bindings_.size() > options_.bindings) bindings_.pop_back();
  }
  current_ = &bindings_.front();
}

void Executor::reserve_scratch() {
  if (device_) return device_->reserve(*current_);
  scratch_.reserve(current_->scratch_bytes() * static_cast<size_t>(program_.workers()),
                   "a session's scratch");
  shared_.reserve(current_->shared_bytes(), "a session's shared scratch");
}

void Executor::prepare_memory() {
  if (!device_) arena_.reserve(static_cast<size_t>(current_->arena_bytes()), "a session's arena");
  reserve_scratch();
  const Plan& p = plan();
  for (size_t i = 0; i < p.buffers.size(); ++i) {
    const PlanBuffer& b = p.buffers[i];
    const auto bytes = static_cast<size_t>(current_->buffer_bytes(static_cast<int>(i)));
    if (device_) {
      bases_[i] = b.kind == PlanBuffer::Kind::arena
                      ? device_->arena() + current_->arena_offset(static_cast<int>(i))
                  : b.kind == PlanBuffer::Kind::constant ? device_->constant(b.constant)
                  : b.kind == PlanBuffer::Kind::input    ? device_->input(b.io)
                                                         : device_->output(b.io);
      continue;
    }
    switch (b.kind) {
      case PlanBuffer::Kind::arena:
        bases_[i] = arena_.data() + current_->arena_offset(static_cast<int>(i));
        break;
      // Kernels take what they read as const; only arena and output buffers are ever written.
      case PlanBuffer::Kind::constant:
        bases_[i] = static_cast<std::byte*>(const_cast<void*>(p.constants[b.constant].raw()));
        break;
      case PlanBuffer::Kind::input:
        bases_[i] = static_cast<std::byte*>(const_cast<void*>(inputs_[b.io].data));
        break;
      case PlanBuffer::Kind::output:
        bases_[i] = result_memory(static_cast<size_t>(b.io), bytes);
        break;
    }
  }
}

void Executor::poison() {
  if (device_) return device_->poison();
  constexpr int kNan = 0xFF;  // all ones is a NaN in every float format
  const auto fill = [](const cpu::Memory& m) {
    if (m.size()) std::memset(m.data(), kNan, m.size());
  };
  fill(arena_), fill(scratch_), fill(shared_);
  for (const Result& r : results_) fill(r.own);
}

void Executor::start(const RunHooks& hooks) {
  Running guard(running_);
  try {
    begin(hooks);
  } catch (...) {
    if (device_) device_->settle();  // the caller's memory is the caller's again
    throw;
  }
  guard.go_on();
  under_way_ = true;
}

void Executor::begin(const RunHooks& hooks) {
  bind();
  for (const Input& in : inputs_)
    require(in.data != nullptr || std::find(in.dims.begin(), in.dims.end(), 0) != in.dims.end(),
            Code::usage, "input '{}': no memory given",
            printable(plan().inputs[&in - inputs_.data()].name));
  if (options_.poison) poison();
  if (hooks.trace) started_ = std::chrono::steady_clock::now();
  current_->forget_data();
  cpu::Lease lease(program_.workers());
  if (device_) {
    std::vector<std::pair<const void*, size_t>> inputs;
    for (size_t i = 0; i < inputs_.size(); ++i)
      inputs.emplace_back(inputs_[i].data,
                          static_cast<size_t>(element_count(inputs_[i].dims)) *
                              size_of(plan().values[plan().inputs[i].value].dtype));
    device_->upload_inputs(inputs, lease);
  }
  run_block(program_.root(), hooks, lease);
  begin_outputs();
}

void Executor::finish() {
  if (!std::exchange(under_way_, false)) return;
  struct Ended {
    std::atomic<bool>& flag;
    ~Ended() { flag = false; }
  } const ended{running_};
  try {
    collect_outputs();
  } catch (...) {
    if (device_) device_->settle();
    throw;
  }
}

Tensor Executor::host_tensor(DType dtype, const Dims& dims) const {
  if (!device_) return Tensor(dtype, dims);
  const int64_t bytes = checked_mul(element_count(dims), static_cast<int64_t>(size_of(dtype)));
  auto memory = std::make_shared<cuda::Staging>(device_->device());
  memory->reserve(static_cast<size_t>(std::max<int64_t>(bytes, 1)), "a tensor");
  return Tensor(dtype, dims, memory->data(), memory);
}

void Executor::run_block(const std::vector<int>& steps, const RunHooks& hooks, cpu::Lease& lease) {
  const bool whole =
      device_ && !hooks.select && !hooks.before && !hooks.after && (!hooks.trace || hooks.in_graph);
  for (size_t i = 0; i < steps.size(); ++i) {
    size_t last = i;
    while (whole && last < steps.size() && in_segment(steps[last])) ++last;
    if (last > i) {
      if (hooks.trace)
        trace_segment(steps, i, last, hooks);
      else
        run_segment(steps, i, last);
      i = last - 1;
      continue;
    }
    run_step(program_.steps()[steps[i]], hooks, lease);
  }
}

void Executor::run_step(const StepInfo& info, const RunHooks& hooks, cpu::Lease& lease) {
  const Step& step = *info.step;
  try {
    if (hooks.select && !hooks.select(info.index, step)) return;
    const nvtx::Range range(step.name);
    if (hooks.before) hooks.before(info.index, step);
    // Launches by the device's clock; the other steps make the host wait for the device anyway.
    const bool marked = device_ && hooks.trace && step.kind == Step::Kind::launch;
    if (device_ && (hooks.trace || hooks.after)) device_->wait();
    const double start = hooks.trace ? since_start() : 0;
    if (marked) device_->mark(0);
    switch (step.kind) {
      case Step::Kind::launch:
        run_launch(info, hooks, lease);
        break;
      case Step::Kind::host:
        run_host(info);
        break;
      case Step::Kind::branch:
        run_branch(info, hooks, lease);
        break;
      case Step::Kind::loop:
        run_loop(info, hooks, lease);
        break;
    }
    if (hooks.trace) {
      if (marked) device_->mark(1);
      if (device_ && !marked) device_->wait();
      const double took = marked ? device_->microseconds() : since_start() - start;
      hooks.trace({info.index, &step, kernel_name(info), took, start,
                   hooks.workers && !device_ && step.kind == Step::Kind::launch
                       ? std::span<const WorkerTime>(worker_times_)
                       : std::span<const WorkerTime>()});
    }
    if (hooks.after) hooks.after(info.index, step);
  } catch (const Error& error) {
    // Not with_context: its text would be an allocation a step.
    const std::string prefix = fmt::format("step '{}'", printable(step.name));
    const std::string what = error.what();
    throw Error(error.code, what.starts_with(prefix) ? what : prefix + ": " + what);
  }
}

double Executor::since_start() const {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - started_)
      .count();
}

const char* Executor::kernel_name(const StepInfo& info) const {
  if (info.step->kind == Step::Kind::host) return "reference";
  const BoundStep* bound = info.step->kind == Step::Kind::launch ? bound_step(info.index) : nullptr;
  return bound && bound->kernel   ? bound->kernel->name
         : bound && bound->choice ? bound->choice->kernel.c_str()
                                  : "";
}

void Executor::run_launch(const StepInfo& info, const RunHooks& hooks, cpu::Lease& lease) {
  if (device_) return launch_on_device(info, false);
  if (hooks.workers) worker_times_.assign(static_cast<size_t>(program_.workers()), {});
  const BoundStep& bound = current_->step(info);
  if (bound.empty || bound.launch.tasks == 0) return;
  if (info.data_dependent) reserve_scratch();
  const Step& step = *info.step;
  for (size_t i = 0; i < step.inputs.size(); ++i) arg_inputs_[i] = address(step.inputs[i]);
  for (size_t i = 0; i < step.outputs.size(); ++i) arg_outputs_[i] = address(step.outputs[i]);
  const KernelArgs args{arg_inputs_.data(), arg_outputs_.data()};
  std::byte* const scratch = scratch_.data();
  const size_t stride = current_->scratch_bytes();
  const auto body = [&](int64_t task, int worker) {
    bound.kernel->run(bound.problem, bound.launch, args, task,
                      scratch + static_cast<size_t>(worker) * stride, shared_.data());
  };
  if (!hooks.workers) {
    lease.parallel(bound.launch.tasks, bound.launch.phase_ends, body);
    return;
  }
  lease.parallel(bound.launch.tasks, bound.launch.phase_ends, [&](int64_t task, int worker) {
    const double start = since_start();
    body(task, worker);
    WorkerTime& time = worker_times_[static_cast<size_t>(worker)];
    time.end = since_start();
    if (time.tasks++ == 0) time.start = start;
    time.busy += time.end - start;
  });
}

std::byte* Executor::address(int value) {
  return bases_[plan().values[value].buffer] + current_->value(value).offset;
}

// The session's own memory for an output, or the caller's.
std::byte* Executor::result_memory(size_t index, size_t bytes) {
  Result& r = results_[index];
  if (r.callers) {
    require(bytes <= r.callers_bytes, Code::usage, "output '{}': {} bytes given, {} needed",
            printable(plan().outputs[index].name), r.callers_bytes, bytes);
    return static_cast<std::byte*>(r.callers);
  }
  if (device_) return device_->result(index, bytes);
  r.own.reserve(std::max<size_t>(bytes, 1), "a session's output");
  return r.own.data();
}

// Sets each output's extents and, on a device, lets it copy what it can by itself.
void Executor::begin_outputs() {
  const Plan& p = plan();
  for (size_t i = 0; i < results_.size(); ++i) {
    Result& r = results_[i];
    const int value = p.outputs[i].value;
    const PlanValue& v = p.values[value];
    const View& view = current_->value(value).view;
    r.dims.assign(view.dims.begin(), view.dims.end());
    const PlanBuffer& buffer = p.buffers[v.buffer];
    r.there =
        !device_ && buffer.kind == PlanBuffer::Kind::output && buffer.io == static_cast<int>(i);
    if (r.there) {
      r.data = bases_[v.buffer];
      continue;
    }
    const size_t bytes = static_cast<size_t>(element_count(r.dims)) * size_of(v.dtype);
    r.data = result_memory(i, bytes);
    if (device_ && view.dense()) r.there = device_->begin_download(r.data, address(value), bytes);
  }
}

void Executor::collect_outputs() {
  const Plan& p = plan();
  for (size_t i = 0; i < results_.size(); ++i) {
    const Result& r = results_[i];
    if (r.there) continue;
    const int value = p.outputs[i].value;
    const DType dtype = p.values[value].dtype;
    const View& view = current_->value(value).view;
    const size_t bytes = static_cast<size_t>(element_count(r.dims)) * size_of(dtype);
    if (device_ && view.dense()) {
      cpu::Lease lease(program_.workers());
      device_->download(r.data, address(value), bytes, &lease);
    } else if (device_) {
      const Tensor dense = device_->read(address(value), dtype, view);
      if (bytes) std::memcpy(r.data, dense.raw(), bytes);
    } else {
      // A view of something else (an input passed through, a constant, a slice): gathered.
      copy_window(static_cast<std::byte*>(r.data), row_major(r.dims), address(value), view.strides,
                  r.dims, size_of(dtype));
    }
  }
  if (device_) device_->wait();
}

Tensor Executor::output(size_t index) const {
  const Result& r = results_.at(index);
  require(r.data != nullptr, Code::usage, "output {} is read before a run", index);
  Tensor out(plan().values[plan().outputs[index].value].dtype, r.dims);
  if (out.bytes()) std::memcpy(out.mutable_raw(), r.data, out.bytes());
  return out;
}

const Bindings& Executor::symbols() const {
  require(current_ != nullptr, Code::usage, "symbols are asked for before a run");
  return current_->symbols();
}

const BoundStep* Executor::bound_step(int index) const {
  if (!current_) return nullptr;
  const BoundStep& bound = current_->bound(index);
  return bound.version == 0 ? nullptr : &bound;
}

Executor::MemoryUse Executor::memory() const {
  MemoryUse use{static_cast<int64_t>(arena_.size()),
                static_cast<int64_t>(scratch_.size() + shared_.size()), 0};
  if (device_) use = {device_->arena_bytes(), device_->workspace_bytes(), 0};
  for (const Result& r : results_) use.outputs += static_cast<int64_t>(r.own.size());
  if (device_) use.outputs = device_->result_bytes();
  return use;
}

}  // namespace vitrail
