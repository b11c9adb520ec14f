// SPDX-License-Identifier: Apache-2.0
#include "compile/host_account.h"

#include <fmt/core.h>

#include <chrono>
#include <map>
#include <optional>

#include "base/error.h"
#include "plan/validate.h"
#include "vitrail/random.h"

namespace vitrail {
namespace {

struct Cost {
  size_t steps = 0;
  int64_t bytes = 0;
  double seconds = 0;
  bool timed = true;
  std::string first;  // step
};

// Beyond this a reference may take minutes.
constexpr int64_t kMostTimed = int64_t{32} << 20;

// What references take: float32 in place of 16-bit types. Zero is an index that is always there.
Tensor made_up(const PlanValue& value, const Bindings& at) {
  const DType type = is_float(value.dtype) && size_of(value.dtype) < 4 ? DType::f32 : value.dtype;
  const Dims dims = eval(value.dims, at);
  return is_float(type) ? random_tensor(type, dims, 1) : Tensor(type, dims);
}

std::optional<double> seconds_of(const Plan& plan, const Step& step, const Bindings& at) {
  const OpDef* op = find_op(step.domain, step.op);
  if (!op || !op->reference) return {};
  std::vector<Tensor> inputs(step.inputs.size());
  RunContext context{.attrs = step.attrs, .inputs = {}, .outputs = {}};
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (step.inputs[i] >= 0)
      inputs[i] = made_up(plan.values[static_cast<size_t>(step.inputs[i])], at);
    context.inputs.push_back(step.inputs[i] < 0 ? nullptr : &inputs[i]);
  }
  context.outputs.resize(step.outputs.size());
  const auto start = std::chrono::steady_clock::now();
  try {
    op->reference(context);
  } catch (const Error&) {  // made-up values that the op does not take
    return {};
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void add(Cost& cost, const Plan& plan, const Step& step, const Bindings& at, bool timed) {
  if (cost.steps++ == 0) cost.first = step.name;
  int64_t bytes = 0;
  for (const auto* list : {&step.inputs, &step.outputs})
    for (const int value : *list)
      if (value >= 0) {
        const PlanValue& v = plan.values[static_cast<size_t>(value)];
        bytes += element_count(eval(v.dims, at)) * static_cast<int64_t>(size_of(v.dtype));
      }
  cost.bytes += bytes;
  const auto seconds =
      timed && bytes <= kMostTimed ? seconds_of(plan, step, at) : std::optional<double>();
  cost.seconds += seconds.value_or(0);
  cost.timed &= seconds.has_value();
}

}  // namespace

std::vector<std::string> account_of_host_steps(const Plan& plan, bool timed) {
  const Bindings at = symbols_at(plan, &PlanSymbol::opt);
  std::map<std::string, Cost> costs;
  for_each_step(plan.steps, [&](const Step& step) {
    if (step.kind != Step::Kind::host) return;
    Cost& cost = costs[step.op];
    try {
      add(cost, plan, step, at, timed);
    } catch (const Error&) {  // an extent that only a run knows: no reason to fail
      cost.timed = false;
    }
  });
  std::vector<std::string> lines;
  for (const auto& [op, cost] : costs) {
    std::string line = fmt::format(
        "no GPU kernel: {} step{} of {} ('{}'{}) run{} on the processor, {:.1f} KiB copied and ",
        cost.steps, cost.steps == 1 ? "" : "s", op, printable(cost.first),
        cost.steps == 1 ? "" : ", ..", cost.steps == 1 ? "s" : "",
        static_cast<double>(cost.bytes) / 1024);
    line += cost.timed ? fmt::format("{:.3f} ms of work at opt", cost.seconds * 1e3)
                       : "work that was not timed";
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace vitrail
