// SPDX-License-Identifier: Apache-2.0
#include "compile/storage.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "ir/storage.h"

namespace vitrail {

namespace {
// Sets of values that must have one type.
class Classes {
 public:
  explicit Classes(size_t count) : parent_(count) { std::iota(parent_.begin(), parent_.end(), 0u); }
  uint32_t root(uint32_t v) {
    while (parent_[v] != v) v = parent_[v] = parent_[parent_[v]];
    return v;
  }
  void join(uint32_t a, uint32_t b) { parent_[root(a)] = root(b); }

 private:
  std::vector<uint32_t> parent_;
};

// A constant with one axis longer than 1, at most.
bool is_bias(const ir::Value& value) {
  if (!value.is_constant()) return false;
  const Dims& dims = value.constant.dims();
  return std::count_if(dims.begin(), dims.end(), [](int64_t d) { return d != 1; }) <= 1;
}
// Whether a norm in front of a product reads the fusion's input: its scale and shift become a part
// of the product's weights, from float32.
bool norm_reads(const ir::Node& fusion, size_t input) {
  const ir::Graph& body = *fusion.bodies[0];
  for (ir::NodeId id : body.topological_order()) {
    const ir::Node& node = body.node(id);
    if (node.is("LayerNormalization") &&
        std::find(node.inputs.begin(), node.inputs.end(), body.inputs[input]) != node.inputs.end())
      return true;
  }
  return false;
}
}  // namespace

bool has_narrow_weights(std::string_view family) {
  return family == "gemm" || family == "conv" || family == "conv_transpose" ||
         family == "inverted" || family == "positional";
}

std::vector<std::pair<ir::ValueId, DType>> narrow_values(const ir::Graph& graph,
                                                         const StorageTypes& types,
                                                         std::string* why) {
  if (types.all_f32()) return {};
  Classes classes(graph.value_count());
  std::vector<uint32_t> wide;
  std::vector<ir::ValueId> tied;  // constants among them follow their class
  const auto order = graph.topological_order();
  for (ir::NodeId id : order) {
    const ir::Node& node = graph.node(id);
    if (!node.is_fusion() && !node.bodies.empty()) {
      require(types.inputs == DType::f32 && types.outputs == DType::f32, Code::unsupported,
              "node '{}' ({}): inputs and outputs of a model with control flow have its own types; "
              "leave out --io",
              printable(node.name), node.type());
      if (why) *why = "stored in float32: the model has control flow";
      return {};
    }
    const bool concat = node.is("Concat");
    if (ir::is_view(graph, node) || concat)
      for (const auto* list : {&node.inputs, &node.outputs})
        for (ir::ValueId v : *list) {
          if (!v.valid() || graph.value(v).dtype != DType::f32) continue;
          classes.join(v.index, node.outputs[0].index);
          tied.push_back(v);
          if (!concat && list == &node.inputs) break;
        }
    if (node.is_fusion() && (node.family == "gram" || node.family == "reduce"))
      for (ir::ValueId v : node.outputs) wide.push_back(v.index);
  }
  std::map<uint32_t, DType> given;  // by root
  const auto give = [&](ir::ValueId v, DType type) {
    if (graph.value(v).dtype != DType::f32) return;
    const auto [at, fresh] = given.emplace(classes.root(v.index), type);
    require(fresh || at->second == type, Code::unsupported,
            "'{}' is {} and shares its memory with another input or output, which is {}: give "
            "inputs and outputs one type",
            printable(graph.value(v).name), name_of(type), name_of(at->second));
  };
  for (ir::ValueId v : graph.inputs) give(v, types.inputs);
  for (ir::ValueId v : graph.outputs) give(v, types.outputs);
  for (uint32_t v : wide) given.emplace(classes.root(v), DType::f32);

  std::vector<std::pair<ir::ValueId, DType>> out;
  const auto type_of = [&](ir::ValueId v) {
    if (!v.valid() || graph.value(v).dtype != DType::f32) return DType::f32;
    const auto found = given.find(classes.root(v.index));
    return found == given.end() ? types.values : found->second;
  };
  const auto add = [&](ir::ValueId v) {
    if (type_of(v) != DType::f32) out.emplace_back(v, type_of(v));
  };
  for (ir::ValueId v : graph.inputs) add(v);
  for (ir::ValueId v : tied)
    if (graph.value(v).is_constant()) add(v);
  // Biases of products are weights as their factors are; libraries add them in the result's type.
  for (ir::NodeId id : order) {
    const ir::Node& node = graph.node(id);
    if ((node.family != "gemm" && node.family != "conv") ||
        type_of(node.outputs[0]) != types.values)
      continue;
    for (size_t i = 0; i < node.inputs.size(); ++i)
      if (const ir::ValueId v = node.inputs[i];
          v.valid() && is_bias(graph.value(v)) && !norm_reads(node, i))
        add(v);
  }
  for (ir::NodeId id : order)
    for (ir::ValueId v : graph.node(id).outputs) add(v);
  return out;
}

std::vector<StorageChange> set_storage(ir::Graph& graph, const StorageTypes& types,
                                       std::vector<std::string>& account) {
  std::string why;
  std::vector<StorageChange> changes;
  for (const auto& [v, type] : narrow_values(graph, types, &why)) {
    ir::Value& value = graph.value(v);
    changes.push_back({v, value.dtype, value.constant});
    if (value.is_constant()) value.constant = value.constant.cast(type);
    value.dtype = type;
  }
  if (!why.empty()) account.push_back(why);
  return changes;
}

void restore_storage(ir::Graph& graph, const std::vector<StorageChange>& changes) {
  for (size_t i = changes.size(); i-- > 0;) {  // a constant used twice was changed twice
    graph.value(changes[i].value).dtype = changes[i].dtype;
    graph.value(changes[i].value).constant = changes[i].constant;
  }
}

}  // namespace vitrail
