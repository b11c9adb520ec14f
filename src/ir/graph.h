// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "ops/op.h"

namespace vitrail::ir {

struct ValueId {
  uint32_t index = UINT32_MAX;  ///< UINT32_MAX: no value (an optional input that is absent)
  bool valid() const { return index != UINT32_MAX; }
  auto operator<=>(const ValueId&) const = default;
};
struct NodeId {
  uint32_t index = UINT32_MAX;
  bool valid() const { return index != UINT32_MAX; }
  auto operator<=>(const NodeId&) const = default;
};
inline constexpr ValueId kNoValue{};

class Graph;

/// A tensor of the graph: an input, a constant, or the output of one node.
struct Value {
  std::string name;  ///< unique in its graph, never empty
  DType dtype = DType::f32;
  Shape shape;
  std::optional<std::vector<Expr>> content;  ///< see ValueInfo
  Tensor constant;                           ///< defined: an initializer
  NodeId producer;                           ///< invalid for inputs and constants
  bool is_constant() const { return constant.defined(); }
  size_t rank() const { return shape.size(); }
};

/// An op applied to values. A *fusion* (family not empty) keeps the nodes it stands for as bodies
/// and has no op of its own; control flow (If, Loop) keeps its branches there too. Bodies are
/// closed: body input i is node input i (If: i + 1, after the condition), body output i is node
/// output i. bodies[1..] of a fusion are alternatives of equal meaning.
struct Node {
  std::string name;           ///< unique in its graph
  const OpDef* op = nullptr;  ///< null for a fusion
  std::string family;         ///< kernel family the fusion is for
  Attrs attrs;
  std::vector<ValueId> inputs;  ///< trailing absent inputs are dropped
  std::vector<ValueId> outputs;
  std::vector<std::unique_ptr<Graph>> bodies;
  std::vector<std::string> sources;  ///< names of the model's own nodes this one stands for
  bool alive = true;

  bool is_fusion() const { return !family.empty(); }
  bool is(std::string_view op_name) const {
    return op && op->domain[0] == 0 && op_name == op->name;
  }
  const char* type() const { return op ? op->name : family.c_str(); }
};

enum class SymbolKind : uint8_t { input, bind, data };
/// A symbol of the graph: an input's dynamic extent, a value known when a session binds, or an
/// extent that a node writes (`bound` is its largest value).
struct Symbol {
  SymbolKind kind = SymbolKind::input;
  Interval range;
  Expr bound;
};

/// A model. Nodes and values live in vectors, are named by index and never move; a removed node is
/// dead (`alive` false) until compact(). Move-only; `clone` copies (constants share memory).
class Graph {
 public:
  Graph() = default;
  Graph(Graph&&) = default;
  Graph& operator=(Graph&&) = default;
  Graph clone() const;

  std::string name = "model";
  std::vector<ValueId> inputs, outputs;
  std::map<std::string, Symbol, std::less<>> symbols;
  /// Equalities between extents that hold but were not proved; checked when a session binds.
  std::vector<Equality> guards;
  /// Free text from the model file: task, preprocessing, labels (docs/metadata.md).
  std::map<std::string, std::string> metadata;
  std::vector<std::string> warnings;

  // --- building
  /// A value that nothing produces yet; the name is made unique.
  ValueId add_value(std::string name, DType dtype, Shape shape);
  ValueId add_input(std::string name, DType dtype, Shape shape);
  ValueId add_constant(std::string name, Tensor tensor);
  /// Adds a node with fresh output values ("<name>" or "<name>.<i>") and infers their types and
  /// shapes. Throws Error(bad_input) naming node and op when the inputs do not fit.
  NodeId add_node(const OpDef& op, std::vector<ValueId> inputs, Attrs attrs = {},
                  std::string name = {}, int outputs = 1);
  /// The same by ONNX name, first output returned.
  ValueId op(std::string_view op_name, std::vector<ValueId> inputs, Attrs attrs = {},
             std::string name = {});
  /// A node put together by the caller (importer, parser, passes); outputs exist already.
  NodeId add_raw_node(Node node);

  // --- reading
  const Value& value(ValueId id) const { return values_.at(id.index); }
  Value& value(ValueId id) { return values_.at(id.index); }
  const Node& node(NodeId id) const { return nodes_.at(id.index); }
  Node& node(NodeId id) { return nodes_.at(id.index); }
  size_t value_count() const { return values_.size(); }
  size_t node_slots() const { return nodes_.size(); }
  /// Number of living nodes.
  size_t node_count() const;
  /// Living nodes, each after the producers of its inputs. Throws Error(bad_input) that prints the
  /// loop when there is one.
  std::vector<NodeId> topological_order() const;
  /// Living nodes that read each value, by value index; one entry per use. Made anew at each call.
  std::vector<std::vector<NodeId>> users() const;
  std::optional<ValueId> find_value(std::string_view name) const;
  /// The producer of a value, or null for inputs and constants.
  const Node* producer(ValueId id) const;
  bool is_output(ValueId id) const;
  /// Elements of an integer value as expressions, from content or constant.
  std::optional<std::vector<Expr>> ints(ValueId id) const;
  Ranges symbol_ranges() const;

  // --- editing
  /// Every use of `from` (graph outputs too) reads `to` instead. The graph output keeps its name.
  void replace_uses(ValueId from, ValueId to);
  /// The node's name may be used again; its outputs must get another producer or lose their
  /// readers.
  void remove_node(NodeId id);
  /// Gives a value another name, made unique; returns it.
  std::string rename_value(ValueId id, const std::string& wanted);
  /// Lets go of the name of a value that nothing produces or reads any more.
  void retire_value(ValueId id);
  /// Removes nodes that no output needs, and constants that nothing reads. Returns nodes removed.
  size_t remove_dead();
  /// Drops dead slots and renumbers; every id held outside becomes invalid.
  void compact();
  /// Infers types, shapes and contents of a node's outputs from its inputs again.
  void infer(NodeId id);
  /// infer() over the whole graph in topological order, bodies included.
  void infer_all();
  std::string unique_value_name(std::string wanted) const;
  std::string unique_node_name(std::string wanted) const;
  Expr new_data_symbol(const std::string& hint, const Expr& bound);

 private:
  std::vector<Value> values_;
  std::vector<Node> nodes_;
  mutable std::map<std::string, uint32_t, std::less<>> value_names_, node_names_;
};

/// Outlining: moves `members` into one fusion node of `family` whose body they become. Inputs are
/// the values read from outside (constants too), in order of first use; outputs the values used
/// outside, in order of production. Returns the fusion. The members must be convex (no path leaves
/// and comes back), otherwise Error(internal).
NodeId outline(Graph& graph, const std::vector<NodeId>& members, std::string family,
               std::string name = {});
/// The inverse: replaces a fusion by the nodes of bodies[which].
void dissolve(Graph& graph, NodeId fusion, size_t which = 0);

/// Replaces symbols by expressions everywhere: shapes, contents, guards, bodies. Replaced symbols
/// go.
void substitute(Graph& graph, const std::map<std::string, Expr, std::less<>>& values);

/// Checks every invariant of the graph and of its bodies; throws Error(internal) that names the
/// first one broken, with `after` (the pass that ran).
void verify(const Graph& graph, const std::string& after);

}  // namespace vitrail::ir
