// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <optional>
#include <vector>

#include "kernels/cuda/text.h"

namespace vitrail::cuda {

/// One kernel's part of a joint launch.
struct JointMember {
  const Problem* problem;
  GpuCode code;
};

/// Several kernels that do not depend on each other as one launch: its blocks are those of the
/// first, then of the second, and so on. A launch less costs a microsecond less, and small kernels
/// fill the device together. Parameters: the members' operands one after the other, workspace,
/// counters, the members' numbers, then the first block of each member but the first.
///
/// Nothing when they do not go together: several launches or calls of libraries, a workspace or
/// counters, clusters of different sizes, grids of more than one axis, kernels that count their
/// blocks otherwise than by vt_block(), more parameters than a launch takes.
std::optional<GpuCode> join(const std::vector<JointMember>& members);

}  // namespace vitrail::cuda
