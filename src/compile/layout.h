// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

#include "ir/storage.h"
#include "lower/lower.h"

namespace vitrail {

/// One step before kernels are chosen. Strides are set: the problem is complete.
struct LaidStep {
  ir::NodeId node;               ///< the fusion or host op; invalid for a copy
  bool host = false;
  Lowered lowered;               ///< fusions and copies
  std::vector<ir::Storage> inputs, outputs;
  std::vector<ir::ValueId> input_values, output_values;  ///< for names; kNoValue: absent or made
  std::string name;
  double copied_bytes = 0;       ///< copies: bytes moved at the opt shapes
};

struct LaidBuffer {
  enum class Kind : uint8_t { arena, input, output, constant } kind = Kind::arena;
  DType dtype = DType::f32;
  Expr elements;
  ir::ValueId value;             ///< constants, inputs, outputs
};

/// Every value's storage and the steps in order, copies included.
struct Layout {
  std::vector<LaidBuffer> buffers;
  std::vector<LaidStep> steps;
  int copies = 0;
};

/// A fusion that no family or kernel takes, with the reason; the caller dissolves it and tries again.
struct Refused {
  ir::NodeId node;
  std::string why;
};

/// Gives every value of the graph its storage. Axis orders are chosen value by value, in the order
/// of execution, to cost the fewest copied bytes at `opt`; Concat inputs are written in place where
/// their producers allow it. Fusions that cannot be lowered are appended to `refused` (the layout
/// is then void).
Layout lay_out(const ir::Graph& graph, const Bindings& opt, std::vector<Refused>& refused);

}  // namespace vitrail
