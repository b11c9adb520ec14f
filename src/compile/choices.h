// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <set>
#include <string>
#include <vector>

#include "plan/plan.h"

namespace vitrail {

/// Extents at which problems are timed, and where that answer is used.
struct TunedPoint {
  Bindings at;
  Ranges when;  ///< intervals of the symbols that vary
  bool opt = false;
  size_t set = 0;  ///< of the plan's sets of ranges
};

/// Each of the plan's sets of ranges, in their order, on one line from all symbols' min over opt to
/// max, with points between where neighbours lie more than a factor of 6 apart. Neighbours meet at
/// their geometric midpoints. A plan without ranges has the one point opt.
std::vector<TunedPoint> tuned_points(const Plan& plan);

/// Whether two choices run the same code the same way, wherever they hold.
bool same(const KernelChoice& a, const KernelChoice& b);
/// The choice that a binding at these extents takes; -1: none.
int choice_at(const Step& step, const Bindings& at);

/// The symbols that the extents and strides of a problem's operands depend on.
std::set<std::string> symbols_of(const Problem& problem);

/// Choices of one step from what was chosen at each point: neighbours on a line that agree are
/// merged, what agrees with the first opt is left to its choice, which stands last and holds for
/// whatever the others do not name. `relevant`: the symbols that the problem depends on.
std::vector<KernelChoice> merge_choices(const std::vector<TunedPoint>& points,
                                        const std::vector<KernelChoice>& chosen,
                                        const std::set<std::string>& relevant);

}  // namespace vitrail
