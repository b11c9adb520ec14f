// SPDX-License-Identifier: Apache-2.0
// Host steps, branches, loops: the steps that look at data.
#include <algorithm>
#include <cstring>

#include "backends/cpu/pool.h"
#include "base/error.h"
#include "runtime/device_run.h"
#include "runtime/executor.h"

namespace vitrail {

// The value as a dense tensor: the memory itself where it is dense, otherwise a copy.
Tensor Executor::view_tensor(int index, bool always_copy) {
  const PlanValue& v = plan().values[index];
  const View& view = current_->value(index).view;
  // Bytes other than 0 and 1 in a bool are undefined behaviour, and memory nothing wrote may hold
  // them.
  const bool truth = v.dtype == DType::boolean;
  if (device_ && !truth) return device_->read(address(index), v.dtype, view);
  if (!always_copy && !truth && view.dense())
    return Tensor(v.dtype, view.dims, address(index), nullptr);
  Tensor copy(v.dtype, view.dims);
  if (device_)
    copy = device_->read(address(index), v.dtype, view);
  else
    copy_window(static_cast<std::byte*>(copy.mutable_raw()), row_major(view.dims), address(index),
                view.strides, view.dims, size_of(v.dtype));
  if (truth) {
    auto* bytes = static_cast<uint8_t*>(copy.mutable_raw());
    for (size_t i = 0; i < copy.bytes(); ++i) bytes[i] = bytes[i] != 0;
  }
  return copy;
}

void Executor::store(int index, const Tensor& tensor) {
  const PlanValue& v = plan().values[index];
  const View& view = current_->value(index).view;
  require(tensor.dtype() == v.dtype && tensor.dims() == view.dims, Code::bad_input,
          "value '{}': expected {}{}, found {}{}", printable(v.name), name_of(v.dtype),
          to_string(view.dims), name_of(tensor.dtype()), to_string(tensor.dims()));
  if (device_) return device_->write(address(index), view, tensor);
  copy_window(address(index), view.strides, static_cast<const std::byte*>(tensor.raw()),
              row_major(view.dims), view.dims, size_of(v.dtype));
}

Tensor Executor::read_value(int value) {
  require(running_ && current_, Code::usage, "values can be read by a hook of a run only");
  require(value >= 0 && static_cast<size_t>(value) < plan().values.size(), Code::usage,
          "value {} of {}", value, plan().values.size());
  return view_tensor(value, true);
}

void Executor::write_value(int value, const Tensor& tensor) {
  require(running_ && current_, Code::usage, "values can be written by a hook of a run only");
  require(value >= 0 && static_cast<size_t>(value) < plan().values.size(), Code::usage,
          "value {} of {}", value, plan().values.size());
  const PlanBuffer::Kind kind = plan().buffers[plan().values[value].buffer].kind;
  require(kind == PlanBuffer::Kind::arena || kind == PlanBuffer::Kind::output, Code::usage,
          "value '{}' is an input or a constant and cannot be replaced",
          printable(plan().values[value].name));
  store(value, tensor);
}

void Executor::set_extents(const Step& step, int output, const Dims& dims) {
  for (const Step::DataExtent& d : step.data_extents) {
    if (d.output != output) continue;
    require(static_cast<size_t>(d.axis) < dims.size(), Code::bad_input,
            "output {} has shape {}, no axis {}", output, to_string(dims), d.axis);
    current_->set_data(d.symbol, dims[d.axis]);
  }
}

void Executor::copy_value(int from, int to) {
  if (from == to) return;
  const PlanValue &a = plan().values[from], &b = plan().values[to];
  // The target's extents may follow from symbols just written: asked for anew.
  const View &x = current_->value(from).view, &y = current_->value(to).view;
  require(x.dims == y.dims, Code::bad_input, "'{}' has shape {}, '{}' has {}", printable(a.name),
          to_string(x.dims), printable(b.name), to_string(y.dims));
  if (device_) return store(to, view_tensor(from, true));
  copy_window(address(to), y.strides, address(from), x.strides, x.dims, size_of(a.dtype));
}

namespace {
// References rely on the op's shape rule: a plan from elsewhere may break it.
void check_rule(const OpDef& op, const Step& step, const std::vector<Tensor>& inputs) {
  std::vector<ValueInfo> known(inputs.size());
  InferContext context{.attrs = step.attrs,
                       .inputs = {},
                       .outputs = {},
                       .node = step.name,
                       .equalities = {},
                       .warnings = {},
                       .data_symbol = {}};
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (step.inputs[i] >= 0) {
      known[i].dtype = inputs[i].dtype();
      known[i].shape = to_shape(inputs[i].dims());
      if (is_integer(known[i].dtype) && inputs[i].size() > 0) known[i].constant = &inputs[i];
    }
    context.inputs.push_back(step.inputs[i] >= 0 ? &known[i] : nullptr);
  }
  context.outputs.resize(step.outputs.size());
  for (ValueInfo& out : context.outputs)
    if (context.has(0)) out.dtype = context.in(0).dtype;
  context.data_symbol = [](const std::string&, const Expr& bound) { return bound; };
  op.infer(context);
}
}  // namespace

void Executor::run_host(const StepInfo& info) {
  const Step& step = *info.step;
  const auto half = [](DType t) { return t == DType::f16 || t == DType::bf16; };
  std::vector<Tensor> inputs(step.inputs.size());
  RunContext context{.attrs = step.attrs, .inputs = {}, .outputs = {}};
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (step.inputs[i] < 0) {
      context.inputs.push_back(nullptr);
      continue;
    }
    inputs[i] = view_tensor(step.inputs[i], false);
    context.inputs.push_back(&inputs[i]);
  }
  check_rule(*info.op, step, inputs);
  for (Tensor& in : inputs)
    if (half(in.dtype())) in = in.cast(DType::f32);  // what references take
  context.outputs.resize(step.outputs.size());
  info.op->reference(context);
  for (size_t i = 0; i < step.outputs.size(); ++i)
    if (step.outputs[i] >= 0) {
      require(context.outputs[i].defined(), Code::internal, "{} left output {} unset",
              info.op->name, i);
      set_extents(step, static_cast<int>(i), context.outputs[i].dims());
    }
  for (size_t i = 0; i < step.outputs.size(); ++i) {
    if (step.outputs[i] < 0) continue;
    Tensor& out = context.outputs[i];
    const DType wanted = plan().values[step.outputs[i]].dtype;
    if (half(wanted) && out.dtype() == DType::f32) out = out.cast(wanted);
    // A reference may hand back its input's memory (Reshape), which store() copes with.
    store(step.outputs[i], out);
  }
}

void Executor::run_branch(const StepInfo& info, const RunHooks& hooks, cpu::Lease& lease) {
  const Step& step = *info.step;
  const Tensor condition = view_tensor(step.inputs[0], false);
  require(condition.size() == 1, Code::bad_input, "the condition has shape {}",
          to_string(condition.dims()));
  const size_t taken = condition.int_at(0) != 0 ? 0 : 1;
  current_->forget(info);
  current_->enter(info, taken);
  run_block(info.blocks[taken], hooks, lease);
  current_->leave(info, taken);
  if (step.block_outputs.empty()) return;
  const std::vector<int>& from = step.block_outputs[taken];
  for (size_t i = 0; i < from.size(); ++i) {
    if (from[i] < 0) continue;
    set_extents(step, static_cast<int>(i), current_->value(from[i]).view.dims);
    copy_value(from[i], step.outputs[i]);
  }
}

void Executor::run_loop(const StepInfo& info, const RunHooks& hooks, cpu::Lease& lease) {
  const Step& step = *info.step;
  const std::vector<int>&in = step.block_inputs[0], &out = step.block_outputs[0];
  const size_t carried = step.inputs.size() - 2, outputs = step.outputs.size();
  const auto scalar = [&](int value, int64_t fallback) {
    if (value < 0) return fallback;
    const Tensor t = view_tensor(value, false);
    require(t.size() == 1, Code::bad_input, "'{}' must be a scalar, found shape {}",
            printable(plan().values[value].name), to_string(t.dims()));
    return t.int_at(0);
  };
  const int64_t rounds = scalar(step.inputs[0], INT64_MAX);
  bool go_on = scalar(step.inputs[1], 1) != 0;

  // Most rounds there is room for in the stacked outputs.
  int64_t room = INT64_MAX;
  for (size_t i = carried; i < outputs; ++i) {
    int64_t rows = -1;
    for (const Step::DataExtent& d : step.data_extents)
      if (d.output == static_cast<int>(i) && d.axis == 0)
        rows = program_.symbol(d.symbol).bound.eval(current_->symbols());
    if (rows < 0) rows = current_->value(step.outputs[i]).view.dims[0];
    room = std::min(room, rows);
  }

  std::vector<Tensor> state(carried);
  for (size_t i = 0; i < carried; ++i) state[i] = view_tensor(step.inputs[i + 2], true);
  constexpr int64_t kMostRounds = 1 << 24;  // of a loop that only its condition ends
  std::vector<Dims> rows(outputs);
  int64_t round = 0;
  for (; round < rounds && go_on; ++round) {
    require(rounds != INT64_MAX || round < kMostRounds, Code::resource,
            "the loop ran {} rounds without end", round);
    current_->forget(info);
    require(round < room, Code::resource,
            "the loop runs more than {} rounds, the plan has room for no more", room);
    if (in[0] >= 0) store(in[0], Tensor::scalar(round));
    if (in[1] >= 0) store(in[1], Tensor::scalar(go_on));
    for (size_t i = 0; i < carried; ++i) store(in[i + 2], state[i]);
    current_->enter(info, 0);
    run_block(info.blocks[0], hooks, lease);
    current_->leave(info, 0);
    go_on = scalar(out[0], go_on) != 0;
    // All are read before one is written: the body may hand two values over crosswise.
    for (size_t i = 0; i < carried; ++i) state[i] = view_tensor(out[i + 1], true);
    for (size_t i = carried; i < outputs; ++i) {
      // Room first: while rounds go on, the output's own extent is the number of rows written so
      // far.
      const Dims row_dims = current_->value(out[i + 1]).view.dims;
      if (round == 0) rows[i] = row_dims;
      require(row_dims == rows[i], Code::bad_input,
              "'{}' has shape {} in round {}, {} in the first",
              printable(plan().values[out[i + 1]].name), to_string(row_dims), round,
              to_string(rows[i]));
      Dims stacked = row_dims;
      stacked.insert(stacked.begin(), round + 1);
      set_extents(step, static_cast<int>(i), stacked);
      const BoundValue& to = current_->value(step.outputs[i]);
      const View& row = current_->value(out[i + 1]).view;
      const Dims to_row(to.view.dims.begin() + 1, to.view.dims.end());
      require(to_row == row.dims, Code::bad_input, "'{}' has shape {}, a row of '{}' has {}",
              printable(plan().values[out[i + 1]].name), to_string(row.dims),
              printable(plan().values[step.outputs[i]].name), to_string(to_row));
      const auto element = static_cast<int64_t>(size_of(plan().values[step.outputs[i]].dtype));
      if (device_) {
        device_->write(address(step.outputs[i]) + round * to.view.strides[0] * element,
                       {row.dims, Dims(to.view.strides.begin() + 1, to.view.strides.end())},
                       view_tensor(out[i + 1], true));
        continue;
      }
      copy_window(address(step.outputs[i]) + round * to.view.strides[0] * element,
                  Dims(to.view.strides.begin() + 1, to.view.strides.end()), address(out[i + 1]),
                  row.strides, row.dims, static_cast<size_t>(element));
    }
  }
  for (size_t i = 0; i < carried; ++i) {
    set_extents(step, static_cast<int>(i), state[i].dims());
    store(step.outputs[i], state[i]);
  }
  for (size_t i = carried; i < outputs; ++i) {
    for (const Step::DataExtent& d : step.data_extents)
      if (round == 0 && d.output == static_cast<int>(i)) current_->set_data(d.symbol, 0);
    require(current_->value(step.outputs[i]).view.dims[0] == round, Code::bad_input,
            "the loop ran {} rounds, '{}' has {} rows", round,
            printable(plan().values[step.outputs[i]].name),
            current_->value(step.outputs[i]).view.dims[0]);
  }
}

}  // namespace vitrail
