// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

// Named ranges for profilers, by the contract of NVIDIA's NVTX version 3 without its headers: a
// tool (Nsight Systems) sets NVTX_INJECTION64_PATH to a library, whose InitializeInjectionNvtx2
// asks for tables of function pointers and fills in those it wants called. Without the variable
// nothing is loaded and a range costs a look at a pointer.
namespace vitrail::nvtx {

/// Whether a tool listens. The library is loaded at the first call; one that cannot be loaded or
/// refuses is a warning.
bool attached();

/// A range of the calling thread for as long as it lives.
class Range {
 public:
  explicit Range(const char* name);
  explicit Range(const std::string& name) : Range(name.c_str()) {}
  ~Range();
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;
};

}  // namespace vitrail::nvtx
