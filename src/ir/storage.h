// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <optional>
#include <vector>

#include "ir/graph.h"

namespace vitrail::ir {

/// Where a value lies: element `index` is at offset + sum(index[i] * strides[i]) of a buffer.
struct Storage {
  int buffer = -1;
  Expr offset = 0;
  Shape strides;
  bool operator==(const Storage&) const = default;
};

/// Axes from outermost to innermost in memory.
using AxisOrder = std::vector<int>;
AxisOrder natural_order(size_t rank);
/// Strides of a dense tensor of `shape` whose memory runs through the axes in `order`.
Shape dense_strides(const Shape& shape, const AxisOrder& order);
/// Whether extents above 1 have exactly the strides of a dense row-major tensor.
bool is_row_major(const Shape& shape, const Shape& strides);

/// Strides of the same elements, in the same order, under other extents; nothing when no strides
/// describe them (the memory would have to move).
std::optional<Shape> reshape_strides(const Shape& from, const Shape& strides, const Shape& to);

/// Whether a node only gives its input another arrangement (it needs no step when strides allow).
bool is_view(const Graph& graph, const Node& node);
/// Storage of output `index` of a view node, given that of its input; nothing when it must be
/// copied.
std::optional<Storage> view_storage(const Graph& graph, const Node& node, size_t index,
                                    const Storage& input);
/// Storage that the input of a view must have so that output 0 has `output`; nothing when there is
/// none.
std::optional<Storage> inverse_view(const Graph& graph, const Node& node, const Storage& output);

}  // namespace vitrail::ir
