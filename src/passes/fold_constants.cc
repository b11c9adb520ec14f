// SPDX-License-Identifier: Apache-2.0
// Add(const, const)   =>   const
// Shape(x: [4, 8])    =>   const {4, 8}
//
// A node whose inputs are all constant runs by its reference now; an integer value whose contents
// the shape rules know as numbers is a constant too. Results that would make the plan much larger
// than what they come from (an Expand of a scalar to an image) stay nodes.
#include <algorithm>
#include <map>

#include "passes/passes.h"

namespace vitrail::passes {
namespace {

constexpr size_t kAlwaysBytes = 1 << 20;

bool worth_it(const ir::Graph& graph, const ir::Node& node, const std::vector<Tensor>& results) {
  size_t in = 0, out = 0;
  for (ir::ValueId v : node.inputs)
    if (v.valid()) in += graph.value(v).constant.bytes();
  for (const Tensor& t : results) out += t.bytes();
  return out <= std::max(kAlwaysBytes, 4 * in);
}

bool all_constant(const ir::Graph& graph, const ir::Node& node) {
  return std::all_of(node.inputs.begin(), node.inputs.end(),
                     [&](ir::ValueId v) { return !v.valid() || graph.value(v).is_constant(); });
}

std::optional<Tensor> known_contents(const ir::Value& value) {
  if (!value.content || !is_static(value.shape) || value.shape.size() > 1) return {};
  Tensor out(DType::i64, to_dims(value.shape));
  if (out.size() != static_cast<int64_t>(value.content->size())) return {};
  for (size_t i = 0; i < value.content->size(); ++i) {
    if (!(*value.content)[i].is_constant()) return {};
    out.mutable_data<int64_t>()[i] = (*value.content)[i].constant();
  }
  return out.cast(value.dtype);
}

// Estimated output size before running: a fold must not allocate without bound.
bool affordable(const ir::Graph& graph, const ir::Node& node) {
  constexpr int64_t kLargest = int64_t{1} << 28;
  for (ir::ValueId v : node.outputs) {
    if (!v.valid()) continue;
    const ir::Value& value = graph.value(v);
    if (!is_static(value.shape) || element_count(to_dims(value.shape)) > kLargest)
      return node.op->traits.data_shape;
  }
  return true;
}

}  // namespace

size_t fold_constants(ir::Graph& graph) {
  size_t changes = 0;
  for (ir::NodeId id : graph.topological_order()) {
    const ir::Node& node = graph.node(id);
    if (!node.op || !node.bodies.empty() || !node.op->reference) continue;
    std::vector<Tensor> results;
    if (node.outputs.size() == 1) {
      if (auto known = known_contents(graph.value(node.outputs[0])))
        results.push_back(std::move(*known));
    }
    if (results.empty() && all_constant(graph, node) && affordable(graph, node)) {
      RunContext ctx{node.attrs, {}, std::vector<Tensor>(node.outputs.size())};
      std::vector<Tensor> wide;  // half types are widened, as the oracle does
      wide.reserve(node.inputs.size());
      for (ir::ValueId v : node.inputs) {
        if (v.valid()) {
          const Tensor& t = graph.value(v).constant;
          wide.push_back(t.dtype() == DType::f16 || t.dtype() == DType::bf16 ? t.cast(DType::f32)
                                                                             : t);
        }
        ctx.inputs.push_back(v.valid() ? &wide.back() : nullptr);
      }
      with_context(fmt::format("node '{}' ({})", printable(node.name), node.type()),
                   [&] { node.op->reference(ctx); });
      if (!worth_it(graph, node, ctx.outputs)) continue;
      results = std::move(ctx.outputs);
      for (size_t i = 0; i < results.size(); ++i)
        if (node.outputs[i].valid())
          results[i] = results[i].cast(graph.value(node.outputs[i]).dtype);
    }
    if (results.empty()) continue;
    const std::vector<ir::ValueId> outputs = node.outputs;
    graph.remove_node(id);
    std::map<std::string, Expr, std::less<>>
        counted;  // extents that data decides (NonZero), now known
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (!outputs[i].valid()) continue;
      ir::Value& value = graph.value(outputs[i]);
      value.producer = {};
      for (size_t d = 0; d < value.shape.size(); ++d)
        if (const auto symbol = graph.symbols.find(value.shape[d].str());
            symbol != graph.symbols.end() && symbol->second.kind == ir::SymbolKind::data)
          counted[symbol->first] = results[i].dims()[d];
      value.shape = to_shape(results[i].dims());
      value.constant = std::move(results[i]);
    }
    ir::substitute(graph, counted);
    ++changes;
  }
  return changes + graph.remove_dead();
}

}  // namespace vitrail::passes
