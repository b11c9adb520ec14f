// SPDX-License-Identifier: Apache-2.0
#include "compile/spare_lanes.h"

#include <algorithm>
#include <optional>

namespace vitrail {
namespace {

/// Lanes of a row of `pitch` elements that a value takes: those of its axis of stride 1. Nothing
/// when its rows are no multiples of the pitch apart.
struct Lanes {
  int64_t first, end;
};
std::optional<Lanes> lanes_of(const PlanValue& v, int64_t pitch) {
  Lanes lanes{0, 1};
  Expr quotient;
  if (v.offset.is_constant())
    lanes = {v.offset.constant() % pitch, v.offset.constant() % pitch + 1};
  else if (!divides(pitch, v.offset, &quotient))
    return {};
  for (size_t i = 0; i < v.dims.size(); ++i) {
    if (v.dims[i].is(1)) continue;
    if (v.strides[i].is(1)) {
      if (!v.dims[i].is_constant()) return {};
      lanes.end += v.dims[i].constant() - 1;
    } else if (!divides(pitch, v.strides[i], &quotient)) {
      return {};
    }
  }
  if (lanes.end > pitch) return {};
  return lanes;
}

/// Elements between a row's end and the next value in it, or the next row.
int64_t spare_lanes(const Plan& plan, const std::vector<std::vector<int>>& values_of, int value) {
  const PlanValue& v = plan.values[static_cast<size_t>(value)];
  const PlanBuffer& buffer = plan.buffers[static_cast<size_t>(v.buffer)];
  if (buffer.kind != PlanBuffer::Kind::arena) return 0;
  int64_t pitch = 0;
  for (size_t i = 0; i < v.dims.size(); ++i)
    if (!v.dims[i].is(1) && v.strides[i].is_constant() && v.strides[i].constant() > 1)
      pitch = pitch == 0 ? v.strides[i].constant() : std::min(pitch, v.strides[i].constant());
  Expr quotient;
  if (pitch == 0 ||
      !divides(pitch * static_cast<int64_t>(size_of(v.dtype)), buffer.bytes, &quotient))
    return 0;
  const auto own = lanes_of(v, pitch);
  if (!own) return 0;
  int64_t end = pitch;
  for (int other : values_of[static_cast<size_t>(v.buffer)]) {
    const auto lanes = lanes_of(plan.values[static_cast<size_t>(other)], pitch);
    if (!lanes) return 0;
    if (lanes->end > own->end) end = std::min(end, std::max(lanes->first, own->end));
  }
  return end - own->end;
}
}  // namespace

void set_spare_lanes(Plan& plan) {
  std::vector<std::vector<int>> values_of(plan.buffers.size());
  for (size_t i = 0; i < plan.values.size(); ++i)
    if (plan.values[i].buffer >= 0)
      values_of[static_cast<size_t>(plan.values[i].buffer)].push_back(static_cast<int>(i));
  for_each_step(plan.steps, [&](Step& step) {
    if (step.kind != Step::Kind::launch) return;
    const auto set = [&](const std::vector<int>& values, const char* name,
                         const std::vector<Operand>& operands) {
      for (size_t i = 0; i < values.size(); ++i) {
        const Operand& o = operands[i];
        // The problem's rows are the value's only where both end in the same axis.
        const PlanValue& v = plan.values[static_cast<size_t>(values[i])];
        const bool same =
            !o.dims.empty() && o.strides.back().is(1) && !o.dims.back().is(1) &&
            std::any_of(v.dims.begin(), v.dims.end(), [&](const Expr& d) {
              return d == o.dims.back() && v.strides[static_cast<size_t>(&d - v.dims.data())].is(1);
            });
        if (const int64_t spare = same ? spare_lanes(plan, values_of, values[i]) : 0; spare > 0)
          step.problem.ints[fmt::format("spare_{}{}", name, i)] = spare;
      }
    };
    set(step.inputs, "in", step.problem.inputs);
    set(step.outputs, "out", step.problem.outputs);
  });
}

}  // namespace vitrail
