// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "compile/layout.h"
#include "compile/versus.h"

namespace vitrail {

/// A plan, the graph as it is in it, and what there is to tell.
struct Built {
  ir::Graph graph = {};
  Plan plan = {};
  std::vector<std::string> lines = {};
  std::vector<FreeOrder> free = {};  ///< values that could have lain otherwise
  /// The model's nodes in fusions that the search found slower than another form of theirs.
  std::set<std::string> taken_apart = {};
};

/// What the search asks of the build and of the device.
struct SearchTools {
  std::vector<std::string> disabled_passes = {};
  /// A plan of the graph, whose open forms become the first, with these axis orders.
  std::function<Built(ir::Graph, const AxisOrders&)> make;
  /// How a second plan does beside the first, which won before. See compare_plans.
  std::function<Versus(const Plan&, Plan&)> compare;
};

/// Local search from the plan `best` of the fused graph `graph`: for all nodes alike at a time, the
/// other forms of a fusion (its other bodies, and its bodies as separate nodes instead of one
/// kernel), then the other axis orders of values. What wins by time stays. The plan's steps tell
/// of it in their trials, its lines in the account.
Built search(ir::Graph graph, Built best, const SearchTools& tools);

}  // namespace vitrail
