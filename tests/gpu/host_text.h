// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <set>
#include <string>

#include "base/gpu.h"

namespace vitrail {

/// A kernel's generated text as C++ for the host: every asm statement becomes calls of the
/// instructions' functions in emulation_ptx.h, shared arrays become parts of the block's memory,
/// and vt_emulate(launch, shape, words) runs a launch.
struct HostText {
  std::string text;
  std::set<std::string> functions;  ///< names of the instructions' functions
};
/// Throws Error(internal) for an asm statement that it cannot read.
HostText host_text(const GpuCode& code, const GpuMachine& machine);

}  // namespace vitrail
