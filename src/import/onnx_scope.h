// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "import/onnx_builder.h"

// The importer's inside: onnx_builder.cc has inputs and results, onnx_order.cc the order of nodes,
// onnx_nodes.cc nodes and functions, onnx_control_flow.cc If and Loop, onnx_scan.cc Scan.
namespace vitrail::onnx_import {

using ir::kNoValue;
using ir::ValueId;
using Nodes = google::protobuf::RepeatedPtrField<onnx::NodeProto>;
using AttrMap = std::map<std::string, const onnx::AttributeProto*, std::less<>>;

inline std::string shown(const std::string& name) { return "'" + printable(name) + "'"; }
/// How messages and `sources` name a node.
inline std::string label(const onnx::NodeProto& node, int index) {
  return node.name().empty() ? node.op_type() + "_" + std::to_string(index) : node.name();
}
/// Why no node of this op can be imported.
std::string why_unknown(const std::string& domain, const std::string& op);

/// What the model says of a value: its element type, and its extents where they are numbers.
struct Declared {
  std::optional<DType> dtype;
  std::optional<std::vector<int64_t>> dims;  ///< -1: not a number
};

/// One namespace of the model: a graph, a body of If or Loop, or an expanded function (which shares
/// the graph of its caller).
class Scope {
 public:
  Scope(Model& model, ir::Graph& graph, const Opsets& opsets, Scope* parent, std::string prefix)
      : model_(model),
        graph_(graph),
        opsets_(opsets),
        parent_(parent),
        prefix_(std::move(prefix)) {}

  void add_initializers(onnx::GraphProto& proto);
  void add_main_inputs(const onnx::GraphProto& proto);
  /// Notes the types the model declares, for what is behind unsupported nodes.
  void declare(const onnx::GraphProto& proto);
  /// Takes tensors out of the nodes.
  void add_nodes(Nodes& nodes, const std::vector<std::string_view>& results);
  void add_outputs(const onnx::GraphProto& proto);
  void compare_declared(const onnx::GraphProto& proto);

 private:
  friend class BodyBuilder;
  std::optional<ValueId> lookup(const std::string& name);
  ValueId capture(ValueId outer);
  bool visible(const std::string& name) const;
  void define(const std::string& name, ValueId id, const char* what);
  bool untyped(ValueId id) const { return untyped_ ? untyped_->contains(id) : false; }
  std::string ir_name(const std::string& name) const {
    const auto renamed = renamed_.find(name);
    return renamed != renamed_.end() ? renamed->second
           : prefix_.empty()         ? name
                                     : prefix_ + "/" + name;
  }

  std::vector<int> order(const Nodes& nodes);
  void add_node(onnx::NodeProto& node, int index);
  void add_known(const onnx::NodeProto& node, const std::string& name, int64_t opset);
  void add_unsupported(const onnx::NodeProto& node, const std::string& name, int64_t opset,
                       const std::string& reason);
  void add_constant_node(onnx::NodeProto& node);
  void expand(const onnx::NodeProto& node, const std::string& name,
              const onnx::FunctionProto& function);
  void add_if(onnx::NodeProto& node, const std::string& name);
  void add_loop(onnx::NodeProto& node, const std::string& name);
  void add_scan(onnx::NodeProto& node, const std::string& name, int64_t opset);
  void finish_control_flow(const onnx::NodeProto& node, ir::Node made);
  onnx::GraphProto& graph_attribute(onnx::NodeProto& node, const char* name) const;

  const onnx::AttributeProto* resolve(const onnx::AttributeProto& attribute) const;
  Attrs attributes(const onnx::NodeProto& node);
  std::vector<ValueId> inputs_of(const onnx::NodeProto& node);
  std::string input_types(const onnx::NodeProto& node);

  Model& model_;
  ir::Graph& graph_;
  const Opsets& opsets_;
  Scope* parent_;  // where names not found here are looked for; null for main graph and functions
  std::string prefix_;
  std::unordered_map<std::string, ValueId> values_;
  std::unordered_map<std::string, std::string> renamed_;
  std::unordered_set<std::string_view> used_;
  std::unordered_map<std::string, Declared> declared_;
  // Values of unknown type, shared by the scopes of one graph.
  std::shared_ptr<std::set<ValueId>> untyped_ = std::make_shared<std::set<ValueId>>();
  AttrMap arguments_;  // attributes of the call, for functions
  bool function_ = false;
  std::vector<std::pair<ValueId, ValueId>> captures_;  // value of the parent, input of this body
};

}  // namespace vitrail::onnx_import
