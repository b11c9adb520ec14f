// SPDX-License-Identifier: Apache-2.0
// Times of a GPU plan: the whole graph, its steps inside recorded graphs.
#include <algorithm>
#include <utility>

#include "backends/nvtx.h"
#include "base/error.h"
#include "runtime/chain.h"
#include "runtime/device_run.h"
#include "runtime/executor.h"
#include "runtime/running.h"

namespace vitrail {

const GpuMachine* Executor::gpu() const { return device_ ? &device_->machine() : nullptr; }

bool Executor::one_graph() const {
  const std::vector<int>& root = program_.root();
  return device_ && current_ &&
         std::all_of(root.begin(), root.end(), [&](int index) { return in_segment(index); });
}

const std::vector<int>& Executor::timed_root() const {
  require(device_ != nullptr, Code::usage,
          "the plan runs on the CPU: its device has no clock of its own");
  require(current_ != nullptr, Code::usage, "a run comes before its device can be timed");
  for (const int index : program_.root())
    require(in_segment(index), Code::usage,
            "step '{}' runs on the CPU or depends on data: the device alone cannot be timed",
            printable(program_.steps()[index].step->name));
  return program_.root();
}

std::vector<double> Executor::time_device(int rounds, int replays) {
  const Running guard(running_);
  const std::vector<int>& root = timed_root();
  std::vector<double> out;
  for (int round = 0; round < rounds; ++round) {
    device_->mark(0);
    for (int i = 0; i < replays; ++i) run_segment(root, 0, root.size());
    device_->mark(1);
    out.push_back(device_->microseconds() / replays);
  }
  return out;
}

double Executor::stamp_microseconds() {
  const Running guard(running_);
  require(device_ != nullptr, Code::usage, "the plan runs on the CPU");
  constexpr size_t kStamps = 16;
  constexpr int kRounds = 8;
  device_->reserve_stamps(kStamps);
  const auto graph = device_->record([&] {
    for (size_t i = 0; i < kStamps; ++i) device_->stamp(i);
  });
  std::vector<double> all;
  for (int round = 0; round < kRounds; ++round) {
    device_->replay(*graph);
    for (size_t i = 1; i < kStamps; ++i) all.push_back(device_->between_stamps(i - 1, i));
  }
  std::nth_element(all.begin(), all.begin() + static_cast<ptrdiff_t>(all.size() / 2), all.end());
  return all[all.size() / 2];
}

Executor::ChainTimes Executor::time_chain(int rounds) {
  const Running guard(running_);
  ChainTimes out;
  out.steps = timed_root();
  const size_t count = out.steps.size();
  device_->reserve_stamps(2);
  // Inside a joint launch there is nothing to stamp: its first step gets all of its time.
  std::vector<size_t> stamped_at(count + 1);
  for (size_t i = 0; i < count;) {
    const JointLaunch* joint = joint_of(out.steps, i, count);
    const size_t end = i + (joint ? joint->choices.size() : 1);
    stamped_at[i] = i;
    std::fill(stamped_at.begin() + static_cast<ptrdiff_t>(i) + 1,
              stamped_at.begin() + static_cast<ptrdiff_t>(end) + 1, end);
    i = end;
  }
  // The whole chain, stamped before step `from` and before step `to`.
  const auto record = [&](size_t first, size_t second) {
    const size_t from = stamped_at[first], to = stamped_at[second];
    return device_->record([&] {
      bool stamped = true;
      const auto stamp = [&](size_t i) {
        if (i == from) device_->stamp(0);
        if (i == to) device_->stamp(1);
        stamped |= i == from || i == to;
      };
      for (size_t i = 0; i < count;) {
        stamp(i);
        i += launch_some(out.steps, i, count, !std::exchange(stamped, false));
      }
      stamp(count);
    });
  };
  const auto time = [&](const cuda::Graph& graph) {
    device_->replay(graph);
    device_->wait();
    return device_->between_stamps(0, 1);
  };
  out.each = measure_chain(count, rounds, [&](size_t from, size_t to) {
    const std::shared_ptr<const cuda::Graph> graph = record(from, to);
    time(*graph);  // the first replay uploads it
    return [&time, graph] { return time(*graph); };
  });
  const auto nothing = record(0, 0), all = record(0, count);
  time(*nothing), time(*all);
  for (int round = 0; round < rounds; ++round) {
    const double empty = time(*nothing);
    out.whole.push_back(time(*all) - empty);
  }
  return out;
}

void Executor::trace_segment(const std::vector<int>& steps, size_t first, size_t last,
                             const RunHooks& hooks) {
  device_->wait();
  const nvtx::Range range(segment_name(steps, first, last));
  const double start = since_start();
  device_->reserve_stamps(last - first + 1);
  const auto prepare = [&] {
    for (size_t i = first; i < last; ++i) {
      const BoundStep& bound = current_->step(program_.steps()[steps[i]]);
      if (!bound.empty) device_->prepare(bound, *bound.choice);
    }
  };
  device_->stamped_segment(*current_, steps[first], prepare, [&] {
    device_->stamp(0);
    for (size_t i = first; i < last; ++i) {
      const StepInfo& info = program_.steps()[steps[i]];
      with_context(fmt::format("step '{}'", printable(info.step->name)),
                   [&] { launch_on_device(info, false); });
      device_->stamp(i - first + 1);
    }
  });
  device_->wait();
  for (size_t i = first; i < last; ++i) {
    const StepInfo& info = program_.steps()[steps[i]];
    hooks.trace({info.index,
                 info.step,
                 kernel_name(info),
                 device_->between_stamps(i - first, i - first + 1),
                 start + (i > first ? device_->between_stamps(0, i - first) : 0),
                 {}});
  }
}

}  // namespace vitrail
