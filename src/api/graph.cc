// SPDX-License-Identifier: Apache-2.0
#include "vitrail/graph.h"

#include "base/error.h"
#include "base/shape.h"
#include "import/onnx_export.h"
#include "import/onnx_import.h"
#include "ir/text.h"

namespace vitrail {

Graph::Graph(const std::string& name) : graph_(std::make_unique<ir::Graph>()) {
  graph_->name = name;
}
Graph::Graph(std::unique_ptr<ir::Graph> graph) : graph_(std::move(graph)) {}
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;

Graph Graph::import_onnx(const std::string& path, const std::map<std::string, Dims>& shapes) {
  ImportOptions options;
  options.input_shapes = shapes;
  return Graph(std::make_unique<ir::Graph>(vitrail::import_onnx(path, options)));
}
Graph Graph::parse(const std::string& text) {
  return Graph(std::make_unique<ir::Graph>(ir::parse(text)));
}
void Graph::export_onnx(const std::string& path, const OnnxExport& options) const {
  ExportOptions out;
  out.opset = options.opset;
  out.external_data = options.external_data;
  out.keep_fusions = options.fused;
  vitrail::export_onnx(*graph_, path, out);
}
std::string Graph::text(size_t largest_constant) const {
  return ir::print(*graph_, largest_constant);
}

Var Graph::input(const std::string& name, DType dtype, const std::vector<std::string>& dims) {
  Shape shape;
  for (const std::string& d : dims) shape.push_back(Expr::parse(d));
  return {graph_->add_input(name, dtype, std::move(shape)).index};
}
Var Graph::constant(const std::string& name, Tensor tensor) {
  return {graph_->add_constant(name, std::move(tensor)).index};
}

Var Graph::op(const std::string& type, const std::vector<Var>& inputs, const Attributes& attributes,
              const std::string& name) {
  return op(type, inputs, attributes, 1, name)[0];
}
std::vector<Var> Graph::op(const std::string& type, const std::vector<Var>& inputs,
                           const Attributes& attributes, int outputs, const std::string& name) {
  const OpDef* def = find_op("", type);
  require(def != nullptr, Code::usage, "no op is named '{}'", printable(type));
  std::vector<ir::ValueId> in;
  for (Var v : inputs) {
    require(v.index == ir::kNoValue.index || v.index < graph_->value_count(), Code::usage,
            "an input of op '{}' belongs to another graph", printable(type));
    in.push_back({v.index});
  }
  Attrs attrs;
  for (const auto& [key, value] : attributes) attrs.set(key, value);
  const ir::NodeId id = graph_->add_node(*def, std::move(in), std::move(attrs),
                                         scope_ + (name.empty() ? type : name), outputs);
  ir::Node& node = graph_->node(id);
  node.sources = {node.name};
  std::vector<Var> out;
  for (ir::ValueId v : node.outputs) out.push_back({v.index});
  return out;
}
void Graph::output(const std::string& name, Var value) {
  if (graph_->value({value.index}).name != name) graph_->rename_value({value.index}, name);
  graph_->outputs.push_back({value.index});
}
std::string Graph::shape_of(Var value) const {
  return to_string(graph_->value({value.index}).shape);
}

Graph::Scope::Scope(Graph& graph, const std::string& name)
    : graph_(graph), length_(graph.scope_.size()) {
  graph_.scope_ += name + "/";
}
Graph::Scope::~Scope() { graph_.scope_.resize(length_); }

std::map<std::string, std::string>& Graph::metadata() { return graph_->metadata; }
const std::map<std::string, std::string>& Graph::metadata() const { return graph_->metadata; }

namespace {
Graph::TensorInfo info(const ir::Value& value) {
  Graph::TensorInfo out{value.name, value.dtype, {}};
  for (const Expr& d : value.shape) out.dims.push_back(d.str());
  return out;
}
}  // namespace

std::vector<Graph::TensorInfo> Graph::inputs() const {
  std::vector<TensorInfo> out;
  for (ir::ValueId v : graph_->inputs) out.push_back(info(graph_->value(v)));
  return out;
}
std::vector<Graph::TensorInfo> Graph::outputs() const {
  std::vector<TensorInfo> out;
  for (ir::ValueId v : graph_->outputs) out.push_back(info(graph_->value(v)));
  return out;
}
size_t Graph::node_count() const { return graph_->node_count(); }
std::map<std::string, int> Graph::op_counts() const {
  std::map<std::string, int> out;
  for (ir::NodeId id : graph_->topological_order()) ++out[graph_->node(id).type()];
  return out;
}
uint64_t Graph::weight_bytes() const {
  uint64_t out = 0;
  for (uint32_t i = 0; i < graph_->value_count(); ++i)
    if (graph_->value({i}).is_constant()) out += graph_->value({i}).constant.bytes();
  return out;
}
const std::vector<std::string>& Graph::warnings() const { return graph_->warnings; }

}  // namespace vitrail
