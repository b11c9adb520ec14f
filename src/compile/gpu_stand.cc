// SPDX-License-Identifier: Apache-2.0
#include "compile/gpu_stand.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "compare/difference.h"
#include "plan/validate.h"

namespace vitrail {
namespace {

class StandMaker {
 public:
  explicit StandMaker(const StandRequest& request) : request_(request) {}

  Plan run() {
    plan_.target = request_.target;
    plan_.modules = request_.modules;
    for (const auto& [name, value] : request_.at)
      plan_.symbols.push_back({.name = name,
                               .kind = PlanSymbol::Kind::bind,
                               .min = value,
                               .opt = value,
                               .max = value,
                               .bound = {},
                               .profiles = {}});
    const auto last = static_cast<int64_t>(request_.candidates.size()) - 1;
    plan_.symbols.push_back({.name = kStandCandidate,
                             .kind = PlanSymbol::Kind::bind,
                             .min = 0,
                             .opt = 0,
                             .max = last,
                             .bound = {},
                             .profiles = {}});
    Step step;
    step.name = request_.step->name;
    step.problem = request_.step->problem;
    for (size_t i = 0; i < request_.candidates.size(); ++i) {
      step.choices.push_back(request_.candidates[i]);
      step.choices.back().when = {
          {kStandCandidate, {static_cast<int64_t>(i), static_cast<int64_t>(i)}}};
    }
    const BoundProblem& bound = *request_.bound;
    for (size_t i = 0; i < bound.outputs.size(); ++i)
      step.outputs.push_back(varying(step.problem.outputs[i], bound.outputs[i]));
    for (size_t i = 0; i < bound.inputs.size(); ++i)
      step.inputs.push_back(
          request_.weights[i].defined() ? -1 : varying(step.problem.inputs[i], bound.inputs[i]));
    std::vector<std::vector<int>> sets;
    for (int s = 0; s < request_.weight_sets; ++s) {
      sets.push_back(step.inputs);
      for (size_t i = 0; i < bound.inputs.size(); ++i)
        if (request_.weights[i].defined()) sets.back()[i] = weight(request_.weights[i]);
    }
    for (int l = 0; l < request_.launches; ++l) {
      step.inputs = sets[static_cast<size_t>(l % request_.weight_sets)];
      plan_.steps.push_back(step);
    }
    return std::move(plan_);
  }

 private:
  int varying(const Operand& operand, const BoundOperand& bound) {
    require(!operand.constant, Code::resource, "the content of a weight is not at hand");
    constexpr int64_t kMostElements = int64_t{1} << 29;
    const Span span = span_of(bound.dims, bound.strides);
    const int64_t elements = span.last - span.first + 1;
    require(elements <= kMostElements, Code::resource, "an operand reaches over {} elements",
            elements);
    constexpr int64_t kSpare = 256;  // kernels may write lanes that follow the last row
    plan_.buffers.push_back(
        {.kind = PlanBuffer::Kind::arena,
         .bytes = elements * static_cast<int64_t>(size_of(bound.dtype)) + kSpare,
         .first = 0,
         .last = request_.launches - 1});
    return add_value(bound.dtype, operand.dims, operand.strides, -span.first);
  }
  int weight(const Tensor& content) {
    plan_.constants.push_back(content);
    plan_.buffers.push_back({.kind = PlanBuffer::Kind::constant,
                             .bytes = static_cast<int64_t>(content.bytes()),
                             .constant = static_cast<int>(plan_.constants.size()) - 1});
    const Shape dims = to_shape(content.dims());
    return add_value(content.dtype(), dims, row_major(dims), 0);
  }
  int add_value(DType dtype, const Shape& dims, const Shape& strides, int64_t offset) {
    const auto index = static_cast<int>(plan_.values.size());
    plan_.values.push_back({fmt::format("operand {}", index), dtype, dims,
                            static_cast<int>(plan_.buffers.size()) - 1, offset, strides});
    return index;
  }

  const StandRequest& request_;
  Plan plan_;
};

}  // namespace

Plan stand_plan(const StandRequest& request) { return StandMaker(request).run(); }

Tensor varied(DType dtype, const Dims& dims) {
  constexpr int64_t kPattern = 4099;
  const Tensor pattern = is_float(dtype) ? random_tensor(dtype, {kPattern}, 1, -1, 1)
                                         : random_tensor(dtype, {kPattern}, 1, 0, 2);
  Tensor out(dtype, dims);
  auto* to = static_cast<std::byte*>(out.mutable_raw());
  for (size_t at = 0; at < out.bytes(); at += pattern.bytes())
    std::memcpy(to + at, pattern.raw(), std::min(pattern.bytes(), out.bytes() - at));
  return out;
}

int stand_launches(double microseconds) {
  constexpr double kEnough = 120;
  return std::clamp(static_cast<int>(kEnough / std::max(microseconds, 1.0)), 3, 32);
}

}  // namespace vitrail
