// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <atomic>

#include "base/error.h"

namespace vitrail {

/// Held while an executor runs; throws Error(usage) when it already does. Clears the flag however
/// the run ends.
class Running {
 public:
  explicit Running(std::atomic<bool>& flag) : flag_(flag) {
    require(!flag_.exchange(true), Code::usage,
            "a session runs in two threads at once: open one session for each thread");
  }
  ~Running() { flag_ = false; }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

 private:
  std::atomic<bool>& flag_;
};

}  // namespace vitrail
