// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <string>
#include <vector>

#include "ir/storage.h"
#include "lower/lower.h"
#include "plan/plan.h"

namespace vitrail {

/// A value of `LaidStep::graph` (or of one of its node's bodies) and where it lies.
struct LaidValue {
  ir::ValueId value;  ///< kNoValue: absent
  ir::Storage storage;
};

/// One step before kernels are chosen. Strides are set: the problem is complete.
struct LaidStep {
  using Kind = Step::Kind;
  Kind kind = Kind::launch;
  ir::Graph* graph = nullptr;  ///< whose node and values these are
  ir::NodeId node;             ///< the fusion, host op, If or Loop; invalid for a copy
  Lowered lowered;             ///< fusions and copies
  std::vector<ir::Storage> inputs, outputs;
  std::vector<ir::ValueId> input_values, output_values;  ///< for names; kNoValue: absent or made
  std::string name;
  double copied_bytes = 0;  ///< copies: bytes moved at the opt shapes
  int together = 1;         ///< as Step has it
  /// If and Loop: what Step holds under the same names, values being those of the node's bodies.
  std::vector<std::vector<LaidStep>> blocks;
  std::vector<std::vector<LaidValue>> block_inputs, block_outputs;
};

/// Memory of some elements; what it is for as PlanBuffer has it.
struct LaidBuffer {
  using Kind = PlanBuffer::Kind;
  Kind kind = Kind::arena;
  DType dtype = DType::f32;
  Expr elements;
  Tensor constant;
  int io = -1;  ///< inputs and outputs: the index among the model's
};

/// A value that could lie in other orders of axes, or be copied into one for a reader.
struct FreeOrder {
  std::string key;    ///< in AxisOrders: the value's name, or "<value> for <reader>"
  std::string place;  ///< extents and who writes and reads it: equal for what is alike
  std::vector<ir::AxisOrder> orders;  ///< legal ones; none: as it lies, without a copy
  size_t chosen = 0;
  double bytes = 0;  ///< of the value at opt
};
/// Orders asked for, by FreeOrder::key.
using AxisOrders = std::map<std::string, ir::AxisOrder>;

/// Every value's storage and the steps in order, copies included.
struct Layout {
  std::vector<LaidBuffer> buffers;
  std::vector<LaidStep> steps;
  std::vector<FreeOrder> free;
};

/// A fusion that no family or kernel takes, with the reason; the caller dissolves it and tries
/// again.
struct Refused {
  ir::Graph* graph = nullptr;  ///< the graph, or the body of an If or Loop, that it stands in
  ir::NodeId node;
  std::string why;
};

/// Gives every value of the graph, and of the bodies of its Ifs and Loops, its storage. Axis orders
/// are chosen value by value, in the order of execution: those of `orders`, otherwise what costs
/// the fewest copied bytes at `opt`. Concat inputs and the results of branches are written in place
/// where their producers allow it. For a GPU rows are filled up to 16 bytes where that costs no
/// copy. Fusions that cannot be lowered are appended to `refused` (the
/// layout is then void).
Layout lay_out(ir::Graph& graph, const Bindings& opt, std::vector<Refused>& refused,
               const AxisOrders& orders = {}, bool gpu = false);

}  // namespace vitrail
