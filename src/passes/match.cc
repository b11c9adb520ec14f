// SPDX-License-Identifier: Apache-2.0
#include "passes/match.h"

#include <algorithm>
#include <cmath>

namespace vitrail::passes {

const ir::Node* Matcher::from(ir::ValueId v, std::string_view op) const {
  if (!v.valid()) return nullptr;
  const ir::Node* producer = graph_->producer(v);
  return producer && producer->is(op) ? producer : nullptr;
}
ir::NodeId Matcher::only_reader(ir::ValueId v) const {
  if (v.index >= users_.size() || users_[v.index].size() != 1 || graph_->is_output(v)) return {};
  return users_[v.index][0];
}
std::optional<double> scalar_constant(const ir::Graph& graph, ir::ValueId v) {
  if (!v.valid()) return {};
  const ir::Value& value = graph.value(v);
  if (!value.is_constant() || value.constant.size() != 1 || value.dtype == DType::string) return {};
  return value.constant.number_at(0);
}
bool Matcher::is_scalar(ir::ValueId v, double wanted, double tolerance) const {
  const auto found = scalar(v);
  return found && std::fabs(*found - wanted) <= tolerance * std::max(1.0, std::fabs(wanted));
}
ir::ValueId Matcher::other(const ir::Node& node, ir::ValueId known) const {
  if (node.inputs.size() != 2) return {};
  if (node.inputs[0] == known) return node.inputs[1];
  return node.inputs[1] == known ? node.inputs[0] : ir::kNoValue;
}
std::optional<Matcher::WithScalar> Matcher::with_scalar(const ir::Node& node) const {
  if (node.inputs.size() != 2) return {};
  for (size_t i = 0; i < 2; ++i)
    if (const auto number = scalar(node.inputs[i])) {
      // A [1,1,1,1] constant must not add axes to the result.
      if (graph_->value(node.inputs[i]).rank() > graph_->value(node.inputs[1 - i]).rank())
        return {};
      return WithScalar{node.inputs[1 - i], *number};
    }
  return {};
}

namespace {
std::vector<std::string> sources_of(const ir::Graph& graph, const std::vector<ir::NodeId>& nodes) {
  std::vector<std::string> out;
  for (ir::NodeId id : nodes)
    for (const std::string& s : graph.node(id).sources)
      if (std::find(out.begin(), out.end(), s) == out.end()) out.push_back(s);
  return out;
}
}  // namespace

ir::ValueId replace_with(ir::Graph& graph, ir::ValueId old_output, std::string_view op,
                         std::vector<ir::ValueId> inputs, Attrs attrs,
                         const std::vector<ir::NodeId>& replaced, std::string_view domain) {
  const OpDef* def = find_op(domain, op);
  require(def != nullptr, Code::internal, "no op '{}'", op);
  const std::string name = graph.node(graph.value(old_output).producer).name;
  std::vector<std::string> sources = sources_of(graph, replaced);
  const ir::NodeId id = graph.add_node(*def, std::move(inputs), std::move(attrs), name);
  graph.node(id).sources = std::move(sources);
  const ir::ValueId out = graph.node(id).outputs[0];
  graph.replace_uses(old_output, out);
  return out;
}

ir::ValueId add_like(ir::Graph& graph, ir::NodeId like, std::string_view op,
                     std::vector<ir::ValueId> inputs, Attrs attrs) {
  const OpDef* def = find_op("", op);
  require(def != nullptr, Code::internal, "no op '{}'", op);
  const std::string name = graph.node(like).name;
  std::vector<std::string> sources = graph.node(like).sources;
  const ir::NodeId id = graph.add_node(*def, std::move(inputs), std::move(attrs), name);
  graph.node(id).sources = std::move(sources);
  return graph.node(id).outputs[0];
}

ir::ValueId add_ints(ir::Graph& graph, const std::string& name,
                     const std::vector<int64_t>& values) {
  return graph.add_constant(name,
                            Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, values));
}
ir::ValueId add_scalar(ir::Graph& graph, const std::string& name, float value) {
  return graph.add_constant(name, Tensor::scalar<float>(value));
}

std::optional<std::vector<int64_t>> reshape_target(const Shape& from, const Shape& target) {
  std::vector<int64_t> out;
  int unknown = 0;
  for (size_t i = 0; i < target.size(); ++i) {
    if (target[i].is_constant()) {
      if (target[i].is(0)) return {};
      out.push_back(target[i].constant());
    } else if (i < from.size() && from[i] == target[i]) {
      out.push_back(0);
    } else {
      out.push_back(-1);
      ++unknown;
    }
  }
  if (unknown > 1) return {};
  return out;
}

bool is_reshape(const ir::Node& node) {
  return node.is("Reshape") || node.is("Flatten") || node.is("Squeeze") || node.is("Unsqueeze");
}

std::vector<int64_t> transpose_perm(const ir::Graph& graph, const ir::Node& node) {
  const size_t rank = graph.value(node.inputs[0]).rank();
  std::vector<int64_t> perm;
  for (size_t i = 0; i < rank; ++i) perm.push_back(static_cast<int64_t>(rank - 1 - i));
  if (!node.attrs.has("perm")) return perm;
  perm = node.attrs.integers("perm");
  for (int64_t& p : perm) p = normalize_axis(p, rank, "perm");
  return perm;
}

}  // namespace vitrail::passes
