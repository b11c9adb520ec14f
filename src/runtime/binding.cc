// SPDX-License-Identifier: Apache-2.0
#include "runtime/binding.h"

#include <algorithm>

#include "base/error.h"
#include "plan/arena.h"
#include "plan/validate.h"

namespace vitrail {
namespace {
void eval_into(Dims& out, const Shape& shape, const Bindings& symbols) {
  out.resize(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) out[i] = shape[i].eval(symbols);
}
}  // namespace

Binding::Binding(const Program& program, Bindings symbols)
    : program_(&program), symbols_(std::move(symbols)) {
  const Plan& plan = program.plan();
  for (const PlanGuard& guard : plan.guards)
    if (!program.depends_on_data(guard.a) && !program.depends_on_data(guard.b)) check(guard);
  lay_out();
  values_.resize(plan.values.size());
  steps_.resize(program.steps().size());
  const std::vector<bool> guarded = guarded_values(plan);
  for (size_t i = 0; i < plan.values.size(); ++i) {
    const PlanValue& v = plan.values[i];
    value_uses_data_.push_back(program.depends_on_data(v.dims) ||
                               program.depends_on_data(v.strides) ||
                               program.depends_on_data(v.offset) || guarded[i]);
    if (!value_uses_data_[i]) bind_value(static_cast<int>(i));
  }
  for (const StepInfo& info : program.steps())
    if (info.step->kind == Step::Kind::launch && !info.data_dependent) step(info);
}

void Binding::check(const PlanGuard& guard) const {
  const int64_t a = guard.a.eval(symbols_), b = guard.b.eval(symbols_);
  if (a == b) return;
  std::string at;
  for (const auto& [name, value] : symbols_)
    at += fmt::format("{}{}={}", at.empty() ? "" : ", ", printable(name), value);
  fail(Code::bad_input,
       "these input shapes do not fit the model: {} is {} and {} is {}, but they must be equal "
       "(at {})",
       printable(guard.a.str()), a, printable(guard.b.str()), b, at);
}

// Those that use data symbols, as far as their values are known.
void Binding::check_data(const std::vector<PlanGuard>& guards) const {
  for (const PlanGuard& guard : guards) {
    if (!program_->depends_on_data(guard.a) && !program_->depends_on_data(guard.b)) continue;
    std::set<std::string> used;
    guard.a.collect_symbols(used), guard.b.collect_symbols(used);
    if (std::all_of(used.begin(), used.end(),
                    [&](const std::string& s) { return symbols_.count(s) > 0; }))
      check(guard);
  }
}

void Binding::enter(const StepInfo& info, size_t block) {
  if (!has_guards(*info.step, block)) return;
  const std::vector<PlanGuard>& guards = info.step->block_guards[block];
  for (const PlanGuard& guard : guards)
    if (!program_->depends_on_data(guard.a) && !program_->depends_on_data(guard.b)) check(guard);
  check_data(guards);
  entered_.push_back(&guards);
}

void Binding::leave(const StepInfo& info, size_t block) {
  if (has_guards(*info.step, block)) entered_.pop_back();
}

void Binding::lay_out() {
  const Plan& plan = program_->plan();
  Bindings at_bounds = symbols_;  // memory is had for the most that a data symbol can be
  add_data_bounds(plan, at_bounds);
  std::vector<ArenaRequest> requests;
  std::vector<size_t> owners;
  for (size_t i = 0; i < plan.buffers.size(); ++i) {
    const PlanBuffer& b = plan.buffers[i];
    bytes_.push_back(b.bytes.eval(at_bounds));
    require(bytes_[i] >= 0, Code::bad_input, "buffer {} has {} bytes", i, bytes_[i]);
    if (b.kind == PlanBuffer::Kind::constant)
      require(static_cast<uint64_t>(bytes_[i]) <= plan.constants[b.constant].bytes(),
              Code::bad_input, "buffer {} is larger than its constant", i);
    if (b.kind != PlanBuffer::Kind::arena) continue;
    requests.push_back({bytes_[i], b.first, b.last});
    owners.push_back(i);
  }
  const ArenaLayout layout = pack_arena(requests);
  arena_bytes_ = layout.bytes;
  offsets_.assign(plan.buffers.size(), 0);
  for (size_t i = 0; i < owners.size(); ++i) offsets_[owners[i]] = layout.offsets[i];
}

void Binding::bind_value(int index) {
  const PlanValue& v = program_->plan().values[index];
  BoundValue& out = values_[index];
  eval_into(out.view.dims, v.dims, symbols_);
  eval_into(out.view.strides, v.strides, symbols_);
  const Span span = span_of(out.view.dims, out.view.strides);
  const auto element = static_cast<int64_t>(size_of(v.dtype));
  const int64_t offset = v.offset.eval(symbols_), capacity = bytes_[v.buffer] / element;
  const bool empty = span.last < span.first;
  require(
      empty || (checked_add(offset, span.first) >= 0 && checked_add(offset, span.last) < capacity),
      Code::bad_input, "value '{}' {} reaches from element {} to {} of a buffer of {}",
      printable(v.name), to_string(out.view.dims), offset + span.first, offset + span.last,
      capacity);
  out.offset = empty ? 0 : checked_mul(offset, element);
  out.version = version_;
}

const BoundValue& Binding::value(int index) {
  if (values_[index].version != version_ &&
      (value_uses_data_[index] || values_[index].version == 0))
    bind_value(index);
  return values_[index];
}

const BoundStep& Binding::step(const StepInfo& info) {
  BoundStep& bound = steps_[info.index];
  if (bound.version != version_ && (info.data_dependent || bound.version == 0))
    with_context(fmt::format("step '{}'", printable(info.step->name)), [&] { bind_step(info); });
  return bound;
}

void Binding::bind_step(const StepInfo& info) {
  const Step& step = *info.step;
  BoundStep& out = steps_[info.index];
  out.version = 0;
  out.problem = vitrail::bind(step.problem, symbols_);
  out.empty = std::all_of(out.problem.outputs.begin(), out.problem.outputs.end(),
                          [](const BoundOperand& o) { return element_count(o.dims) == 0; });
  if (out.empty) {
    out.version = version_;
    return;
  }
  for (size_t i = 0; i < step.inputs.size(); ++i)
    check_operand(step.problem.inputs[i], out.problem.inputs[i], step.inputs[i], info);
  for (size_t i = 0; i < step.outputs.size(); ++i)
    check_operand(step.problem.outputs[i], out.problem.outputs[i], step.outputs[i], info);
  if (program_->on_device()) return bind_device(info);
  const auto [kernel, tactic] = program_->choose(info, symbols_);
  out.kernel = kernel;
  if (tactic) {
    out.launch = kernel->bind(out.problem, *tactic, this_machine(), program_->workers());
  } else {
    const std::vector<Tactic> tactics =
        kernel->tactics(out.problem, this_machine(), program_->workers());
    out.launch = kernel->bind(out.problem, tactics.empty() ? Tactic{} : tactics[0], this_machine(),
                              program_->workers());
  }
  const std::vector<int64_t>& ends = out.launch.phase_ends;
  require(out.launch.tasks >= 0 &&
              (ends.empty() || (ends[0] >= 0 && std::is_sorted(ends.begin(), ends.end()) &&
                                ends.back() == out.launch.tasks)),
          Code::internal, "kernel '{}' has phases that do not add up to its {} tasks", kernel->name,
          out.launch.tasks);
  constexpr size_t kMostScratch =
      size_t{1} << 40;  // so that sums and products stay far from the end of size_t
  require(out.launch.scratch_bytes <= kMostScratch && out.launch.shared_bytes <= kMostScratch,
          Code::resource, "kernel '{}' wants {} + {} bytes of scratch", kernel->name,
          out.launch.scratch_bytes, out.launch.shared_bytes);
  scratch_ = std::max(scratch_, (out.launch.scratch_bytes + 63) / 64 * 64);
  shared_ = std::max(shared_, out.launch.shared_bytes);
  out.version = version_;  // last: a step that threw is not bound
}

void Binding::bind_device(const StepInfo& info) {
  BoundStep& out = steps_[info.index];
  out.choice = &program_->choose_device(info, symbols_);
  for (const auto* list : {&out.problem.inputs, &out.problem.outputs})
    for (const BoundOperand& o : *list) {
      const Span span = span_of(o.dims, o.strides);
      require(span.last <= INT32_MAX, Code::unsupported,
              "an operand reaches over {} elements, kernels on the GPU count to 2^31: use a "
              "smaller batch or size",
              span.last);
    }
  bind_launches(*out.choice, out);
  constexpr int64_t kMostBytes = int64_t{1} << 40;
  scratch_ = std::max(scratch_, static_cast<size_t>(within(out.choice->workspace_bytes, kMostBytes,
                                                           "bytes of workspace", *out.choice)));
  shared_ = std::max(shared_, static_cast<size_t>(4 * within(out.choice->counters, kMostBytes,
                                                             "counters", *out.choice)));
  out.version = version_;
}

int64_t Binding::within(const Expr& e, int64_t most, const char* what,
                        const KernelChoice& choice) const {
  const int64_t value = e.eval(symbols_);
  require(0 <= value && value <= most, Code::unsupported,
          "kernel '{}' would need {} {}, at most {} are possible: use a smaller batch or size",
          printable(choice.kernel), value, what, most);
  return value;
}

void Binding::bind_launches(const KernelChoice& choice, BoundStep& out) const {
  out.device.clear();
  for (const GpuLaunch& launch : choice.launches) {
    DeviceLaunch& bound = out.device.emplace_back();
    for (int axis = 0; axis < 3; ++axis)
      bound.grid[axis] = static_cast<unsigned>(
          within(launch.grid[axis], axis == 0 ? INT32_MAX : UINT16_MAX, "blocks", choice));
    for (const Expr& e : launch.numbers) bound.numbers.push_back(e.eval(symbols_));
    if (!launch.library) continue;
    for (const auto& [name, e] : launch.library->numbers) bound.call[name] = e.eval(symbols_);
  }
}

// A kernel goes by the problem's extents, so it is these that must lie inside the buffer.
void Binding::check_operand(const Operand& operand, const BoundOperand& bound, int index,
                            const StepInfo& info) {
  const PlanValue& v = program_->plan().values[index];
  // A GPU plan's packed forms are its machine code's own.
  if (operand.constant && program_->on_device()) return;
  if (operand.constant && info.family && info.family->packed_bytes) {
    size_t position = 0;
    while (&info.step->problem.inputs[position] != &operand) ++position;
    // Packing rounds up by 16 at most: this keeps its arithmetic far from the end of 64 bits.
    require(element_count(bound.dims) < int64_t{1} << 48, Code::bad_input,
            "weight '{}' {} is too large", printable(v.name), to_string(bound.dims));
    const int64_t packed = info.family->packed_bytes(info.step->problem, position);
    if (packed >= 0) {
      require(v.offset.is(0) && packed <= bytes_[v.buffer], Code::bad_input,
              "weight '{}' has {} bytes, its packed form needs {}", printable(v.name),
              bytes_[v.buffer], packed);
      return;
    }
  }
  const Span span = span_of(bound.dims, bound.strides);
  if (span.last < span.first) return;
  const auto element = static_cast<int64_t>(size_of(bound.dtype));
  const int64_t bytes = value(index).offset;  // where the kernel will be pointed to
  const int64_t offset = bytes / element, capacity = bytes_[v.buffer] / element;
  require(bytes % element == 0 && checked_add(offset, span.first) >= 0 &&
              checked_add(offset, span.last) < capacity,
          Code::bad_input,
          "operand '{}' {} with strides {} reaches from element {} to {} of a buffer of {}",
          printable(v.name), to_string(bound.dims), to_string(bound.strides), offset + span.first,
          offset + span.last, capacity);
}

void Binding::forget_data() {
  entered_.clear();
  for (const PlanSymbol& s : program_->plan().symbols)
    if (s.kind == PlanSymbol::Kind::data) symbols_.erase(s.name);
}

void Binding::forget(const StepInfo& info) {
  for (const std::string& name : info.inner_symbols) symbols_.erase(name);
}

void Binding::set_data(const std::string& name, int64_t extent) {
  const int64_t bound = program_->symbol(name).bound.eval(symbols_);
  require(extent <= bound, Code::resource,
          "the data gives {} = {}, the plan has room for {}: build it with a larger bound",
          printable(name), extent, bound);
  const auto found = symbols_.find(name);
  if (found != symbols_.end() && found->second == extent) return;
  if (found != symbols_.end())
    found->second = extent;
  else
    symbols_.emplace(name, extent);
  ++version_;
  check_data(program_->plan().guards);
  for (const auto* guards : entered_) check_data(*guards);
}

}  // namespace vitrail
