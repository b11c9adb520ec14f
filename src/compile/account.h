// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <set>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace vitrail {

/// How many of the model's attentions became one fusion each, one line a kind ("fused: 13 of 13
/// attentions"), and a line that names those that did not. An attention of the model is a Softmax
/// that multiplies a value that varies. `planned` is the graph as it is in the plan, `taken_apart`
/// the model's nodes in fusions that were found slower than another form of theirs.
std::vector<std::string> account_of_attentions(const ir::Graph& imported, const ir::Graph& planned,
                                               const std::set<std::string>& taken_apart);

}  // namespace vitrail
