// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace vitrail {

/// A node of a model while it is brought to the newest form of its op.
class Lift {
 public:
  Lift(ir::Graph& graph, std::string op, std::string domain, std::string name)
      : graph(graph), op(std::move(op)), domain(std::move(domain)), name(std::move(name)) {}

  ir::Graph& graph;
  std::string op, domain;  ///< empty op: all outputs are bound and no node is left
  std::string name;        ///< of the node, not empty
  Attrs attrs;
  std::vector<ir::ValueId> inputs;      ///< invalid: absent
  std::vector<bool> outputs_used;       ///< one an output of the node: whether anything reads it
  std::map<size_t, ir::ValueId> bound;  ///< outputs that another value stands for
  std::vector<std::string> sources;
  std::vector<std::string> warnings;

  bool has(size_t i) const { return i < inputs.size() && inputs[i].valid(); }
  const ir::Value& in(size_t i) const;  ///< throws Error(bad_input) when absent
  ir::ValueId input(size_t i) const;    ///< the same, as id
  /// The constant value of input i, or null.
  const Tensor* constant(size_t i) const;
  void set_input(size_t i, ir::ValueId value);
  /// A node before or after this one; returns its only output. Throws Error(unsupported) when this
  /// version lacks the op.
  ir::ValueId emit(std::string_view op_name, std::vector<ir::ValueId> ins, Attrs attributes = {});
  ir::ValueId add_constant(const std::string& suffix, Tensor tensor);
  ir::ValueId add_ints(const std::string& suffix, const std::vector<int64_t>& values);
  /// Moves an attribute (integers, or one integer as a list) to input i; nothing when it is absent.
  void attr_to_input(const char* attribute, size_t i);
};

/// Rewrites a node written for `opset` of its domain into the newest form. All rules of the
/// importer about older forms and about ops of other domains that have an equal in ONNX are in its
/// one table.
void upgrade(Lift& node, int64_t opset);
/// Whether a rule of the table concerns the op.
bool has_upgrade(std::string_view domain, std::string_view op);

/// Removes attributes that change nothing for this project (their only accepted values are the ones
/// that mean what the op does anyway). Throws Error(unsupported) naming one that the op does not
/// know.
void drop_neutral_attributes(const OpDef& op, Attrs& attrs);

}  // namespace vitrail
