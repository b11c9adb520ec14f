// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <string>
#include <vector>

#include "passes/pipeline.h"

// Tests of passes as text before and after. A graph is written in the text form (src/ir/text.h) from
// its inputs on, types and names of nodes left out:
//
//     (x: f32[N,7]) -> (y) {
//       symbol N input 1..
//       const w: f32[7,40] = #0
//       s = Sigmoid(x)
//       y = Mul(x, s)
//     }
//
// A constant "#0" is drawn from [-1, 1], "#1" from [0.5, 1.5], both by the constant's name.
namespace vitrail::passes {

ir::Graph graph_of(const std::string& text);

/// The graph as a tree of nodes from its outputs up: names of values inside and the order of nodes do not
/// matter, small constants stand where they are used. Two graphs of equal outline have equal text.
std::string outline_of(const ir::Graph& graph);

struct Check {
  /// Largest difference allowed between the results before and after, both computed in float64, relative
  /// to the largest result. The default is rounding of sums of a few hundred terms; a pass that computes
  /// float32 constants needs float32's.
  double tolerance = 1e-12;
  /// Values of the graph's input symbols to run at; empty: several odd ones.
  std::vector<Bindings> at = {};
};
constexpr double kFloat32Constants = 1e-6;

/// The pass makes `after` of `before`, both compute the same, the result is a valid graph, prints and parses
/// back, and the pass finds nothing more in it.
void expect_rewrite(const std::string& pass, const std::string& before, const std::string& after, const Check& check = {});
/// The pass leaves the graph as it is: a near miss.
void expect_kept(const std::string& pass, const std::string& text);
/// Runs the pass and checks what expect_rewrite checks, but for the text; returns the result.
ir::Graph rewritten(const std::string& pass, const ir::Graph& before, const Check& check = {});

}  // namespace vitrail::passes
