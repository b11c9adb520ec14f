// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

#include "ir/graph.h"

namespace vitrail {

/// How many of the model's attentions became one fusion each, one line a kind ("fused: 13 of 13
/// attentions"), and a line that names those that did not. An attention of the model is a Softmax
/// that multiplies a value that varies. `fused` is the graph as it is compiled.
std::vector<std::string> account_of_attentions(const ir::Graph& imported, const ir::Graph& fused);

}  // namespace vitrail
