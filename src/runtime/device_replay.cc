// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/error.h"
#include "runtime/device_run.h"
#include "runtime/executor.h"

namespace vitrail {

double Executor::time_replay(size_t evict_bytes, int replays) {
  const std::vector<int>& root = program_.root();
  require(device_ != nullptr && current_ != nullptr && !running_ &&
              std::all_of(root.begin(), root.end(), [&](int index) { return in_segment(index); }),
          Code::usage, "only a bound plan whose steps all run on the device can be timed there");
  const auto replay = [&] { run_segment(root, 0, root.size()); };
  replay();  // recorded here at the latest; the device is busy until the host has said what follows
  if (evict_bytes > 0) device_->evict(evict_bytes);
  device_->mark(0);
  for (int i = 0; i < replays; ++i) replay();
  device_->mark(1);
  return device_->microseconds() / replays;
}

}  // namespace vitrail
