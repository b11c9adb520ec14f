// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <atomic>

#include "base/error.h"

namespace vitrail {

/// Held while an executor runs; throws Error(usage) when it already does. Clears the flag however
/// the run ends, unless it goes on.
class Running {
 public:
  explicit Running(std::atomic<bool>& flag) : flag_(flag) {
    require(!flag_.exchange(true), Code::usage,
            "a session's run has not ended: wait() for it, and open one session for each thread");
  }
  ~Running() {
    if (!goes_on_) flag_ = false;
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  /// Whoever ends the run clears the flag.
  void go_on() { goes_on_ = true; }

 private:
  std::atomic<bool>& flag_;
  bool goes_on_ = false;
};

}  // namespace vitrail
