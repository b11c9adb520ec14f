// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <vector>

#include "ir/graph.h"

namespace vitrail::oracle {

struct Options {
  /// f32 or f64: the type all floats are computed in. Values declared f16 or bf16 are rounded to
  /// that type after each node either way.
  DType precision = DType::f32;
  /// Called after each node of the top graph with its outputs, in topological order.
  std::function<void(ir::NodeId, const std::vector<Tensor>&)> observe;
  /// Which body of a fusion runs (its index is capped to the bodies there are).
  size_t body = 0;
};

/// Runs any graph by the references of its ops. `inputs` in the order of graph.inputs, converted to
/// the declared types. Returns graph.outputs; floats in the precision computed.
/// Throws Error(bad_input) naming the input whose rank, extent or type does not fit, or the node
/// whose data is invalid.
std::vector<Tensor> run(const ir::Graph& graph, const std::vector<Tensor>& inputs,
                        const Options& options = {});

/// Values of the graph's input symbols that the extents of `inputs` imply. Throws Error(bad_input)
/// when an extent contradicts the graph.
Bindings solve_symbols(const ir::Graph& graph, const std::vector<Dims>& inputs);

}  // namespace vitrail::oracle
