// SPDX-License-Identifier: Apache-2.0
// Straight runs of steps on a device: recorded once for each binding, then replayed.
#include <algorithm>

#include "backends/nvtx.h"
#include "base/error.h"
#include "runtime/device_run.h"
#include "runtime/executor.h"

namespace vitrail {

// For a profiler; nothing is allocated without one.
std::string Executor::segment_name(const std::vector<int>& steps, size_t first, size_t last) const {
  if (!nvtx::attached()) return {};
  return fmt::format("steps {} to {}, recorded", steps[first], steps[last - 1]);
}

// Steps whose launches are known as soon as shapes are.
bool Executor::in_segment(int index) const {
  const StepInfo& info = program_.steps()[index];
  return info.step->kind == Step::Kind::launch && !info.data_dependent;
}

void Executor::run_segment(const std::vector<int>& steps, size_t first, size_t last) {
  const nvtx::Range range(segment_name(steps, first, last));
  // Calls action(position) for the steps, each of which returns how many it was for.
  const auto each = [&](const auto& action) {
    for (size_t i = first; i < last;) {
      const StepInfo& info = program_.steps()[steps[i]];
      size_t done = 0;
      with_context(fmt::format("step '{}'", printable(info.step->name)),
                   [&] { done = action(i, info); });
      i += done;
    }
  };
  const auto prepare = [&](size_t, const StepInfo& info) -> size_t {
    if (const BoundStep& bound = current_->step(info); !bound.empty)
      device_->prepare(bound, *bound.choice);
    return 1;
  };
  const auto launch = [&](size_t i, const StepInfo&) -> size_t {
    return launch_some(steps, i, last, i > first);
  };
  device_->segment(
      *current_, steps[first], [&] { each(prepare); }, [&] { each(launch); });
}

// The launch that does the steps from the first on at once, where there is one for the choices that
// they run.
const JointLaunch* Executor::joint_of(const std::vector<int>& steps, size_t first, size_t last) {
  const Step& head = *program_.steps()[steps[first]].step;
  const auto count = static_cast<size_t>(head.together);
  if (head.joints.empty() || first + count > last) return nullptr;
  std::vector<int> choices;
  for (size_t i = first; i < first + count; ++i) {
    const StepInfo& info = program_.steps()[steps[i]];
    const BoundStep& bound = current_->step(info);
    if (bound.empty) return nullptr;
    choices.push_back(static_cast<int>(bound.choice - info.step->choices.data()));
  }
  const auto joint = std::find_if(head.joints.begin(), head.joints.end(),
                                  [&](const JointLaunch& j) { return j.choices == choices; });
  return joint == head.joints.end() ? nullptr : &*joint;
}

// The first step, or all that one launch does with it; returns how many.
size_t Executor::launch_some(const std::vector<int>& steps, size_t first, size_t last,
                             bool overlap) {
  const JointLaunch* joint = joint_of(steps, first, last);
  if (!joint) {
    launch_on_device(program_.steps()[steps[first]], overlap);
    return 1;
  }
  device_args_.clear();
  for (size_t i = first; i < first + joint->choices.size(); ++i) {
    const Step& step = *program_.steps()[steps[i]].step;
    for (const auto* list : {&step.inputs, &step.outputs})
      for (const int v : *list) device_args_.push_back(address(v));
  }
  BoundStep bound;
  current_->bind_launches(joint->code, bound);
  device_->launch(bound, joint->code, device_args_, overlap);
  return joint->choices.size();
}

void Executor::launch_on_device(const StepInfo& info, bool overlap) {
  const BoundStep& bound = current_->step(info);
  if (bound.empty) return;
  if (info.data_dependent) reserve_scratch();
  device_->prepare(bound, *bound.choice);
  device_args_.clear();
  for (const int v : info.step->inputs) device_args_.push_back(address(v));
  for (const int v : info.step->outputs) device_args_.push_back(address(v));
  device_->launch(bound, *bound.choice, device_args_, overlap);
}

}  // namespace vitrail
