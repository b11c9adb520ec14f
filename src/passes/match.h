// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <optional>

#include "ir/graph.h"

// What the passes share: looking at the surroundings of a node and putting nodes in its place.
namespace vitrail::passes {

/// The number a constant of one element holds.
std::optional<double> scalar_constant(const ir::Graph& graph, ir::ValueId v);

/// A view of the graph with its readers, made anew after edits.
class Matcher {
 public:
  explicit Matcher(const ir::Graph& graph) : graph_(&graph), users_(graph.users()) {}

  /// The producer of v when it is alive and of this op, else null.
  const ir::Node* from(ir::ValueId v, std::string_view op) const;
  /// The only reader of v; invalid when there are several, none, or v is an output of the graph.
  ir::NodeId only_reader(ir::ValueId v) const;
  const std::vector<ir::NodeId>& readers(ir::ValueId v) const { return users_.at(v.index); }
  std::optional<double> scalar(ir::ValueId v) const { return scalar_constant(*graph_, v); }
  bool is_scalar(ir::ValueId v, double value, double tolerance = 1e-6) const;
  /// For a commutative node: the other input when one input is `known`; invalid otherwise.
  ir::ValueId other(const ir::Node& node, ir::ValueId known) const;
  /// For a node with one constant scalar among its two inputs: (the other input, the number).
  struct WithScalar {
    ir::ValueId value;
    double number;
  };
  std::optional<WithScalar> with_scalar(const ir::Node& node) const;

 private:
  const ir::Graph* graph_;
  std::vector<std::vector<ir::NodeId>> users_;
};

/// Puts a new node in the place of `old_output`: the same readers, name and sources (those of all
/// `replaced` nodes). Dead nodes are left to remove_dead. Returns the new value.
ir::ValueId replace_with(ir::Graph& graph, ir::ValueId old_output, std::string_view op,
                         std::vector<ir::ValueId> inputs, Attrs attrs,
                         const std::vector<ir::NodeId>& replaced, std::string_view domain = "");
/// A node on the way to it, with the sources of `like`.
ir::ValueId add_like(ir::Graph& graph, ir::NodeId like, std::string_view op,
                     std::vector<ir::ValueId> inputs, Attrs attrs = {});
ir::ValueId add_ints(ir::Graph& graph, const std::string& name, const std::vector<int64_t>& values);
ir::ValueId add_scalar(ir::Graph& graph, const std::string& name, float value);
/// The shape input of a Reshape to `target`: constants, -1 for one symbolic extent, 0 where an
/// extent stays in its place in `from`. Nothing when that is not enough.
std::optional<std::vector<int64_t>> reshape_target(const Shape& from, const Shape& target);
/// Reshape, Flatten, Squeeze, Unsqueeze: the elements in order under other extents.
bool is_reshape(const ir::Node& node);
std::vector<int64_t> transpose_perm(const ir::Graph& graph, const ir::Node& node);

}  // namespace vitrail::passes
