// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <vector>

#include "ir/graph.h"
#include "vitrail/rounding.h"

namespace vitrail::oracle {

/// A graph that runs: the top one, or a body of an If or Loop. Bodies of fusions are no places.
struct Place {
  const ir::Graph& graph;
  const Place* outer = nullptr;  ///< where the node with this body stands; null: the top graph
  ir::NodeId node = {};          ///< that node, of outer->graph
  size_t body = 0;               ///< which of its bodies
};

struct Options {
  /// f32 or f64: the type all floats are computed in. Values declared f16 or bf16 are rounded to
  /// that type after each node either way.
  DType precision = DType::f32;
  /// Called after each node with its outputs, in topological order; inside a Loop once a round.
  std::function<void(const Place&, ir::NodeId, const std::vector<Tensor>&)> observe;
  /// Called each time that a place begins to run, with the inputs of its graph.
  std::function<void(const Place&, const std::vector<Tensor>&)> enter;
  /// Which body of a fusion runs (its index is capped to the bodies there are).
  size_t body = 0;
  /// Values of the top graph, by index (constants too), that are rounded to `rounding` when they
  /// are made: what a plan in that type would store.
  std::vector<bool> rounded;
  Rounding rounding = Rounding::none;
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
