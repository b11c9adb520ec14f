// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <string_view>

#include "ir/graph.h"

namespace vitrail::ir {

/// The text form. It parses back to an equal graph; constants above `largest_constant` elements
/// print as a digest "#<hash>" and are handed to `parse` as `data`, in order of appearance.
///
///     graph "mlp" (x: f32[N,8]) -> (y) {
///       symbol N input 1..32
///       const w: f32[8,4] = {0.5, -1, ...}
///       h: f32[N,4] = MatMul(x, w) @"fc"
///       y: f32[N,4] = fusion "pointwise"(h) @"act" from ["relu"] body (h: f32[N,4]) -> (y) {
///         y: f32[N,4] = Relu(h) @"relu"
///       }
///     }
///
/// A reader that writes by hand may leave out the types of nodes' outputs (they are inferred) and
/// @"names" (the first output's name).
/// `data`: collects the constants that printed as digests, as `parse` takes them.
std::string print(const Graph& graph, size_t largest_constant = 64,
                  std::vector<Tensor>* data = nullptr);
/// Throws Error(bad_input) with line and column.
Graph parse(std::string_view text, const std::vector<Tensor>* data = nullptr);

}  // namespace vitrail::ir
