// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "ir/graph.h"

namespace vitrail::passes {

/// The kernel family that takes a node of this op alone; null when none does. Whether a kernel
/// takes this very problem is known only when it is lowered.
const char* single_family(const ir::Graph& graph, const ir::Node& node);

}  // namespace vitrail::passes
