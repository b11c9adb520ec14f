// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "ir/graph.h"

namespace vitrail {

/// Whether two nodes do the same work: the same op or family, attributes, types, extents and, node
/// by node, bodies. Names and the contents of constants do not matter.
bool alike(const ir::Graph& graph, ir::NodeId a, ir::NodeId b);

}  // namespace vitrail
