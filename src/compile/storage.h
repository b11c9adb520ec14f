// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ir/graph.h"

namespace vitrail {

/// Whether a family's matrices of weights are kept in the storage type: those multiplied on tensor
/// cores. Other weights are small, are read once and stay float32.
bool has_narrow_weights(std::string_view family);

/// Types in which a plan keeps what the model has in float32.
struct StorageTypes {
  DType values = DType::f32;  ///< between steps
  DType inputs = DType::f32, outputs = DType::f32;
  bool all_f32() const {
    return values == DType::f32 && inputs == DType::f32 && outputs == DType::f32;
  }
};

/// The values of a fused graph that `types` narrows, and to what, constants too. Values joined by
/// views and Concats have one type: an input's or output's where one is among them, otherwise
/// float32 where a Gram matrix or a sum is among them, which leave the range of float16. Values of
/// a graph with control flow stay float32 (`why` says so). Throws Error(unsupported) where inputs
/// and outputs contradict each other.
std::vector<std::pair<ir::ValueId, DType>> narrow_values(const ir::Graph& graph,
                                                         const StorageTypes& types,
                                                         std::string* why = nullptr);

/// Gives the graph's values those types. Returns what restore_storage() needs to undo it: passes
/// know float32 only.
struct StorageChange {
  ir::ValueId value;
  DType dtype;
  Tensor constant;
};
std::vector<StorageChange> set_storage(ir::Graph& graph, const StorageTypes& types,
                                       std::vector<std::string>& account);
void restore_storage(ir::Graph& graph, const std::vector<StorageChange>& changes);

}  // namespace vitrail
