// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <memory>

namespace vitrail {

/// While one lives, memory of large tensors that are no longer used goes to the next ones of about
/// that size instead of back to the system, which would clear every page again: a third of the
/// oracle's time. Any number may live; what is kept goes with the last one.
class RecycleTensors {
 public:
  RecycleTensors();
  ~RecycleTensors();
  RecycleTensors(const RecycleTensors&) = delete;
  RecycleTensors& operator=(const RecycleTensors&) = delete;
};

/// 64-byte aligned memory of a tensor; null when there is none. `bytes` is a multiple of 64.
std::shared_ptr<void> tensor_memory(size_t bytes);

}  // namespace vitrail
