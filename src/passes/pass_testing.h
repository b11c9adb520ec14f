// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <string>
#include <vector>

#include "ir/text_testing.h"
#include "passes/pipeline.h"

// Tests of passes as text before and after (src/ir/text_testing.h).
namespace vitrail::passes {

using ir::graph_of;
using ir::outline_of;

struct Check {
  /// Largest difference allowed between the results before and after, both computed in float64,
  /// relative to the largest result. The default is rounding of sums of a few hundred terms; a pass
  /// that computes float32 constants needs float32's.
  double tolerance = 1e-12;
  /// Values of the graph's input symbols to run at; empty: several odd ones.
  std::vector<Bindings> at = {};
};
constexpr double kFloat32Constants = 1e-6;

/// The pass makes `after` of `before`, both compute the same with every body of a fusion, the
/// result is a valid graph, prints and parses back, and the pass finds nothing more in it.
void expect_rewrite(const std::string& pass, const std::string& before, const std::string& after,
                    const Check& check = {});
/// The pass leaves the graph as it is: a near miss.
void expect_kept(const std::string& pass, const std::string& text);
/// Runs the pass and checks what expect_rewrite checks, but for the text; returns the result.
ir::Graph rewritten(const std::string& pass, const ir::Graph& before, const Check& check = {});

}  // namespace vitrail::passes
