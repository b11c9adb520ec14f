// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <string_view>
#include <vector>

#include "ir/graph.h"

// A rewrite that need not pay on every machine and shape keeps both forms: the pass moves the nodes
// into a fusion that has the rewritten form as its first body and what the model said as the
// second. Its family is the pass's name, for which there is no kernel; the compiler takes one of
// the bodies (src/compile/search.h) and runs it as separate nodes.
namespace vitrail::passes {

/// Whether the node is such a fusion.
bool offers_forms(const ir::Node& node);

/// The nodes on the ways from `from` to `to`, with the views that only make `from` for them, grown
/// downwards until one value leaves them, and by the elementwise nodes that then follow: the later
/// passes fuse within each body, so whatever they would join must lie inside. Convex. Where the
/// growing finds no one value soon, the nodes on the ways alone and elementwise ones.
std::vector<ir::NodeId> region_between(const ir::Graph& graph, ir::ValueId from, ir::ValueId to);

/// Moves `members` into a fusion of `pass`. Its first body is what `rewrite` makes of a copy of the
/// second; both hold the constants they read, so that every pass matches in them as outside.
void offer_form(ir::Graph& graph, const std::vector<ir::NodeId>& members, std::string_view pass,
                const std::function<void(ir::Graph&)>& rewrite);

/// Gives the values inside fusions names that no other value of the graph has, other forms of the
/// same fusion excepted: whichever fusions are dissolved, and in whatever order, their values keep
/// their names, by which a plan's values are compared with the reference's.
void give_unique_names(ir::Graph& graph);

}  // namespace vitrail::passes
