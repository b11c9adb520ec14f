// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

#include "ir/graph.h"

// Graphs of tests as text. A graph is written in the text form (src/ir/text.h) from its inputs on,
// types and names of nodes left out:
//
//     (x: f32[N,7]) -> (y) {
//       symbol N input 1..
//       const w: f32[7,40] = #0
//       s = Sigmoid(x)
//       y = Mul(x, s)
//     }
//
// A constant "#0" is drawn from [-1, 1], "#1" from [0.5, 1.5], both by the constant's name.
namespace vitrail::ir {

Graph graph_of(const std::string& text);

/// The graph as a tree of nodes from its outputs up: names of values inside and the order of nodes
/// do not matter, small constants stand where they are used. Two graphs of equal outline have equal
/// text.
std::string outline_of(const Graph& graph);

/// Numbers of a type, floats uniform in [low, high], integers from 0 to 3; equal seeds, equal
/// numbers.
Tensor drawn(DType dtype, const Dims& dims, double low, double high, uint64_t seed);
uint64_t seed_of(const std::string& name);

}  // namespace vitrail::ir
