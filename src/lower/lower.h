// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/problem.h"
#include "ir/graph.h"

namespace vitrail {

/// How an operand of a Problem reads a value of the graph: problem extent i is the value's axis
/// axes[i], or an extent of 1 that the value lacks (-1: stride 0).
struct LoweredOperand {
  int io = 0;  ///< index among the fusion's inputs (or outputs)
  std::vector<int> axes;
  Shape dims;           ///< extents in the problem; larger than the value's where it broadcasts
  int innermost = -1;   ///< value axis whose stride must be 1; -1: any strides
  bool packed = false;  ///< a constant that the family packs
  Tensor constant;      ///< an operand that is no input of the fusion (made while lowering)
};

/// A fusion as a problem without strides: they follow when every value has its storage.
struct Lowered {
  Problem problem;  ///< inputs and outputs hold dtype and dims; strides are filled later
  std::vector<LoweredOperand> inputs, outputs;
};

/// Lowers a fusion (its first body) for its family. Nothing and `why` when the family has no form
/// for this body.
std::optional<Lowered> lower(const ir::Graph& graph, const ir::Node& fusion, std::string* why);

// --- for the family files -------------------------------------------------------------------
/// The body while it is read. Node order is topological.
struct BodyReader {
  const ir::Graph& graph;  ///< the graph around the fusion: its constants are looked through
  const ir::Node& fusion;
  const ir::Graph& body;
  std::vector<const ir::Node*> nodes;

  /// Index among the fusion's inputs, or -1.
  int input_index(ir::ValueId inner) const;
  /// The constant behind a body input or body constant; null when it varies.
  const Tensor* constant(ir::ValueId inner) const;
  const ir::Value& value(ir::ValueId id) const { return body.value(id); }
};

/// Lowers the elementwise nodes of the body from `anchor` (register 0; no value: a pure pointwise
/// group) to the body's outputs. `out_axes[i]` is the axis of the result that problem extent i is.
/// Appends the further operands to `lowered` and sets problem.epilogue and epilogue_inputs, and
/// the outputs. False and `why` when a node is no pointwise instruction.
bool lower_epilogue(const BodyReader& reader, ir::ValueId anchor, const std::vector<int>& out_axes,
                    int innermost, Lowered& lowered, std::string* why);
/// An input operand whose axes are all in order.
LoweredOperand plain_operand(const BodyReader& reader, ir::ValueId inner, int innermost);

}  // namespace vitrail
