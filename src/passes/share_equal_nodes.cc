// SPDX-License-Identifier: Apache-2.0
// y = Transpose(x), z = Transpose(x)   =>   y for both
//
// Nodes with the same op, attributes and inputs give the same result. Equal small constants count
// as one input (exporters write the number 1e-5 once for each use).
#include <map>

#include "ir/text.h"
#include "passes/passes.h"

namespace vitrail::passes {
namespace {

// Constants up to this many elements are compared by value.
constexpr int64_t kSmall = 16;

std::string constant_key(const Tensor& t) {
  return std::string(name_of(t.dtype())) + to_string(t.dims()) +
         std::string(static_cast<const char*>(t.raw()), t.bytes());
}

std::string attr_key(const Attrs& attrs) {
  std::string out;
  for (const auto& [name, value] : attrs.all()) {
    out += name + "=" + std::to_string(value.index()) + ":";
    std::visit(
        [&](const auto& v) {
          using T = std::decay_t<decltype(v)>;
          if constexpr (std::is_same_v<T, std::string>)
            out += v;
          else if constexpr (std::is_same_v<T, Tensor>)
            out += constant_key(v);
          else if constexpr (std::is_arithmetic_v<T>)
            out += fmt::format("{}", v);
          else
            for (const auto& item : v) out += fmt::format("{},", item);
        },
        value);
    out += ";";
  }
  return out;
}

}  // namespace

size_t share_equal_nodes(ir::Graph& graph) {
  size_t changes = 0;
  std::map<std::string, ir::ValueId> constants;
  for (uint32_t i = 0; i < graph.value_count(); ++i) {
    const ir::Value& value = graph.value({i});
    if (!value.is_constant() || value.constant.size() > kSmall || value.dtype == DType::string)
      continue;
    const auto [at, fresh] = constants.emplace(constant_key(value.constant), ir::ValueId{i});
    if (!fresh && !graph.is_output({i})) graph.replace_uses({i}, at->second);
  }
  std::map<std::string, ir::NodeId> seen;
  for (ir::NodeId id : graph.topological_order()) {
    const ir::Node& node = graph.node(id);
    if (!node.op || !node.bodies.empty() || node.op->traits.data_shape) continue;
    std::string key = fmt::format("{}:{}/", node.op->domain, node.op->name);
    for (ir::ValueId out : node.outputs)
      key += out.valid() ? 'y' : '_';  // the first must have all results of the second
    key += "(";
    for (ir::ValueId in : node.inputs) key += fmt::format("{},", in.index);
    key += ")" + attr_key(node.attrs);
    const auto [at, fresh] = seen.emplace(std::move(key), id);
    if (fresh) continue;
    const auto first = graph.node(at->second).outputs;
    const auto mine = node.outputs;
    bool output = false;
    for (ir::ValueId v : mine) output |= v.valid() && graph.is_output(v);
    if (output) continue;  // both names must stay
    for (size_t i = 0; i < mine.size(); ++i)
      if (mine[i].valid()) graph.replace_uses(mine[i], first[i]);
    graph.remove_node(id);
    ++changes;
  }
  return changes + graph.remove_dead();
}

}  // namespace vitrail::passes
