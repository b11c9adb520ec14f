// SPDX-License-Identifier: Apache-2.0
#include "import/onnx_export.h"

#include <algorithm>
#include <deque>
#include <map>
#include <set>

#include "base/file.h"
#include "import/downgrade.h"
#include "import/onnx_tensor.h"
#include "onnx/onnx-ml.pb.h"

namespace vitrail {
namespace {
using ir::ValueId;

constexpr uint64_t kLargestInside = (uint64_t{1} << 31) - (64 << 20);  // room for the nodes

int ir_version_of(int opset) {
  struct Row {
    int opset, ir_version;
  };
  // The IR version that came with each opset (ONNX's versioning page).
  constexpr Row kRows[] = {{28, 14}, {25, 13}, {24, 12}, {23, 11}, {21, 10},
                           {19, 9},  {15, 8},  {12, 7},  {11, 6},  {10, 5}};
  for (const Row& row : kRows)
    if (opset >= row.opset) return row.ir_version;
  return 4;  // the first in which initializers need not be inputs
}

void put_type(onnx::ValueInfoProto& info, const std::string& name, const ir::Value& value) {
  info.set_name(name);
  auto& tensor = *info.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(dtype_to_onnx(value.dtype));
  tensor.mutable_shape();
  for (const Expr& extent : value.shape) {
    auto& dim = *tensor.mutable_shape()->add_dim();
    if (extent.is_constant())
      dim.set_dim_value(extent.constant());
    else
      dim.set_dim_param(extent.str());
  }
}

/// Where weights that do not stay in the model go.
struct ExternalData {
  std::string location;  ///< as the model names the file
  AtomicFile& file;
};

class Writer {
 public:
  Writer(const ExportOptions& options, ExternalData* external)
      : options_(options), external_(external) {}

  onnx::ModelProto model(const ir::Graph& graph) {
    onnx::ModelProto out;
    out.set_ir_version(ir_version_of(options_.opset));
    out.set_producer_name("vitrail");
    auto& opset = *out.add_opset_import();
    opset.set_domain("");
    opset.set_version(options_.opset);
    if (options_.keep_fusions) {
      auto& own = *out.add_opset_import();
      own.set_domain("ai.vitrail");
      own.set_version(1);
    }
    for (const auto& [key, value] : graph.metadata) {
      if (key.starts_with("onnx.")) continue;
      auto& entry = *out.add_metadata_props();
      entry.set_key(key);
      entry.set_value(value);
    }
    auto& proto = *out.mutable_graph();
    proto.set_name(graph.name);
    std::map<ValueId, std::string> names;
    for (uint32_t i = 0; i < graph.value_count(); ++i)
      if (const ir::Value& value = graph.value({i}); !value.name.empty()) {
        names[{i}] = value.name;
        used_.insert(value.name);
      }
    for (ValueId id : graph.inputs) put_type(*proto.add_input(), names.at(id), graph.value(id));
    body(graph, names, proto);
    for (ValueId id : graph.outputs) put_type(*proto.add_output(), names.at(id), graph.value(id));
    if (options_.keep_fusions)
      for (ir::NodeId id : graph.topological_order())
        for (ValueId o : graph.node(id).outputs)
          if (o.valid() && !graph.is_output(o))
            put_type(*proto.add_value_info(), names.at(o), graph.value(o));
    return out;
  }

 private:
  std::string fresh(const std::string& wanted) {
    std::string name = wanted;
    for (int i = 1; !used_.insert(name).second; ++i) name = wanted + "_" + std::to_string(i);
    return name;
  }

  // Constants and nodes of a graph whose values have these names.
  void body(const ir::Graph& graph, const std::map<ValueId, std::string>& names,
            onnx::GraphProto& proto) {
    std::deque<ValueInfo> infos;
    std::deque<Tensor> made;
    std::map<std::string, const ValueInfo*> by_name;
    const auto users = graph.users();
    for (const auto& [id, name] : names) {
      const ir::Value& value = graph.value(id);
      infos.push_back({value.dtype, value.shape, value.is_constant() ? &value.constant : nullptr,
                       value.content});
      by_name[name] = &infos.back();
      if (value.is_constant() && (!users[id.index].empty() || graph.is_output(id)))
        put_tensor(*proto.add_initializer(), name, value.constant);
    }
    Drafter drafter;
    drafter.opset = options_.opset;
    drafter.ranges = graph.symbol_ranges();
    drafter.info = [&](const std::string& name) {
      const auto found = by_name.find(name);
      return found == by_name.end() ? nullptr : found->second;
    };
    drafter.write = [&](const Draft& draft) { put_node(*proto.add_node(), draft); };
    drafter.constant = [&](const std::string& wanted, Tensor tensor) {
      std::string name = fresh(wanted);
      put_tensor(*proto.add_initializer(), name, tensor);
      made.push_back(std::move(tensor));
      infos.push_back({made.back().dtype(), to_shape(made.back().dims()), &made.back(), {}});
      by_name[name] = &infos.back();
      return name;
    };
    drafter.fresh_name = [&](const std::string& wanted) { return fresh(wanted); };
    for (ir::NodeId id : graph.topological_order()) {
      const ir::Node& node = graph.node(id);
      Draft draft{node.type(), node.op ? node.op->domain : "ai.vitrail", node.name, node.attrs, {},
                  {}};
      for (ValueId in : node.inputs) draft.inputs.push_back(in.valid() ? names.at(in) : "");
      for (ValueId out : node.outputs) draft.outputs.push_back(out.valid() ? names.at(out) : "");
      if (node.op && !node.bodies.empty()) {
        control_flow(node, std::move(draft), proto);
      } else if (node.is_fusion() || !draft.domain.empty()) {
        require(options_.keep_fusions, Code::unsupported,
                "node '{}' ({}): ops of the domain '{}' cannot be exported", printable(node.name),
                node.type(), draft.domain);
        if (node.is_fusion()) note_members(node, draft);
        put_node(*proto.add_node(), draft);
      } else {
        downgrade(drafter, std::move(draft));
      }
    }
  }

  // What a viewer shows of a fusion: the ops inside, and the nodes of the model it stands for.
  static void note_members(const ir::Node& node, Draft& draft) {
    std::vector<std::string> ops;
    for (ir::NodeId id : node.bodies.at(0)->topological_order())
      ops.push_back(node.bodies[0]->node(id).type());
    draft.attrs.set("ops", std::move(ops));
    draft.attrs.set("sources", node.sources);
  }

  // Captured values are read by their outer names again; everything else inside gets names of its
  // own.
  void control_flow(const ir::Node& node, Draft draft, onnx::GraphProto& proto) {
    const bool loop = node.is("Loop");
    const size_t formal = loop ? static_cast<size_t>(2 + node.attrs.integer("carried")) : 0;
    const size_t first = loop ? 0 : 1;  // node input of body input 0
    const std::vector<std::string> outer = draft.inputs;
    draft.inputs.resize(std::min(draft.inputs.size(), loop ? formal : 1));
    draft.attrs = {};
    onnx::NodeProto& written = *proto.add_node();
    put_node(written, draft);
    for (size_t b = 0; b < node.bodies.size(); ++b) {
      const ir::Graph& body_graph = *node.bodies[b];
      const char* attribute = loop ? "body" : b == 0 ? "then_branch" : "else_branch";
      auto& a = *written.add_attribute();
      a.set_name(attribute);
      a.set_type(onnx::AttributeProto::GRAPH);
      auto& inner = *a.mutable_g();
      inner.set_name(body_graph.name);
      std::map<ValueId, std::string> names;
      for (size_t i = formal; i < body_graph.inputs.size(); ++i)
        names[body_graph.inputs[i]] = outer.at(first + i);
      for (uint32_t i = 0; i < body_graph.value_count(); ++i)
        if (!names.contains({i}) && !body_graph.value({i}).name.empty())
          names[{i}] = fresh(body_graph.value({i}).name);
      for (size_t i = 0; i < formal; ++i)
        put_type(*inner.add_input(), names.at(body_graph.inputs[i]),
                 body_graph.value(body_graph.inputs[i]));
      body(body_graph, names, inner);
      for (ValueId id : body_graph.outputs) {
        std::string name = names.at(id);
        // An output that is a captured value needs a node: a body gives only what it holds itself.
        if (std::find(outer.begin(), outer.end(), name) != outer.end()) {
          const std::string copy = fresh(name + "/copy");
          put_node(*inner.add_node(), {"Identity", "", copy, {}, {name}, {copy}});
          name = copy;
        }
        put_type(*inner.add_output(), name, body_graph.value(id));
      }
    }
  }

  void put_node(onnx::NodeProto& out, const Draft& draft) {
    out.set_op_type(draft.op);
    out.set_domain(draft.domain);
    out.set_name(draft.name);
    for (const std::string& name : draft.inputs) out.add_input(name);
    while (out.input_size() > 0 && out.input(out.input_size() - 1).empty())
      out.mutable_input()->RemoveLast();
    for (const std::string& name : draft.outputs) out.add_output(name);
    for (const auto& [name, value] : draft.attrs.all())
      put_attribute(*out.add_attribute(), name, value);
  }

  void put_attribute(onnx::AttributeProto& out, const std::string& name, const AttrValue& value) {
    out.set_name(name);
    switch (static_cast<AttrKind>(value.index())) {
      case AttrKind::integer:
        out.set_type(onnx::AttributeProto::INT);
        out.set_i(std::get<int64_t>(value));
        break;
      case AttrKind::number:
        out.set_type(onnx::AttributeProto::FLOAT);
        out.set_f(static_cast<float>(std::get<double>(value)));
        break;
      case AttrKind::text:
        out.set_type(onnx::AttributeProto::STRING);
        out.set_s(std::get<std::string>(value));
        break;
      case AttrKind::integers:
        out.set_type(onnx::AttributeProto::INTS);
        for (int64_t v : std::get<std::vector<int64_t>>(value)) out.add_ints(v);
        break;
      case AttrKind::numbers:
        out.set_type(onnx::AttributeProto::FLOATS);
        for (double v : std::get<std::vector<double>>(value)) out.add_floats(static_cast<float>(v));
        break;
      case AttrKind::texts:
        out.set_type(onnx::AttributeProto::STRINGS);
        for (const std::string& v : std::get<std::vector<std::string>>(value)) out.add_strings(v);
        break;
      case AttrKind::tensor:
        out.set_type(onnx::AttributeProto::TENSOR);
        put_tensor(*out.mutable_t(), "", std::get<Tensor>(value), false);
        break;
    }
  }

  void put_tensor(onnx::TensorProto& out, const std::string& name, const Tensor& tensor,
                  bool may_be_external = true) {
    require(tensor.dtype() != DType::string, Code::unsupported,
            "constant '{}': strings cannot be exported", printable(name));
    out.set_name(name);
    out.set_data_type(dtype_to_onnx(tensor.dtype()));
    for (int64_t d : tensor.dims()) out.add_dims(d);
    if (!external_ || !may_be_external || tensor.bytes() < options_.external_threshold) {
      out.set_raw_data(tensor.raw(), tensor.bytes());
      return;
    }
    // ONNX asks for 4096 so that large weights can be mapped page by page.
    external_->file.align(tensor.bytes() >= 65536 ? 4096 : 64);
    const uint64_t offset = external_->file.size();
    external_->file.write(Bytes(static_cast<const std::byte*>(tensor.raw()), tensor.bytes()));
    out.set_data_location(onnx::TensorProto::EXTERNAL);
    const auto entry = [&](const char* key, const std::string& value) {
      auto& e = *out.add_external_data();
      e.set_key(key);
      e.set_value(value);
    };
    entry("location", external_->location);
    entry("offset", std::to_string(offset));
    entry("length", std::to_string(tensor.bytes()));
  }

  const ExportOptions& options_;
  ExternalData* external_;
  std::set<std::string> used_;
};

uint64_t constant_bytes(const ir::Graph& graph) {
  uint64_t total = 0;
  for (uint32_t i = 0; i < graph.value_count(); ++i)
    if (graph.value({i}).is_constant()) total += graph.value({i}).constant.bytes();
  return total;
}

// Fusions, nested ones and those in branches too, replaced by the nodes of their first bodies.
void unfold(ir::Graph& graph) {
  for (bool found = true; found;) {
    found = false;
    for (ir::NodeId id : graph.topological_order()) {
      if (!graph.node(id).is_fusion()) continue;
      ir::dissolve(graph, id);
      found = true;
    }
  }
  for (ir::NodeId id : graph.topological_order())
    for (auto& body : graph.node(id).bodies) unfold(*body);
}

void check(const ExportOptions& options) {
  require(options.opset >= kOldestOpset && options.opset <= kNewestOpset, Code::usage,
          "opset {}: ONNX models are written for {} to {}", options.opset, kOldestOpset,
          kNewestOpset);
}

std::string serialize(const ir::Graph& graph, const ExportOptions& options,
                      ExternalData* external) {
  Writer writer(options, external);
  onnx::ModelProto proto;
  if (options.keep_fusions) {
    proto = writer.model(graph);
  } else {
    ir::Graph plain = graph.clone();
    unfold(plain);
    proto = writer.model(plain);
  }
  require(
      proto.ByteSizeLong() < (uint64_t{1} << 31), Code::unsupported,
      "the model takes {} bytes and an ONNX file ends at 2 GiB; write the weights as external data",
      proto.ByteSizeLong());
  return proto.SerializeAsString();
}
}  // namespace

std::string export_onnx_bytes(const ir::Graph& graph, const ExportOptions& options) {
  check(options);
  return serialize(graph, options, nullptr);
}

void export_onnx(const ir::Graph& graph, const std::string& path, const ExportOptions& options) {
  check(options);
  if (!options.source.empty()) require_distinct(options.source, path);
  if (!options.external_data && constant_bytes(graph) < kLargestInside) {
    write_atomically(path, serialize(graph, options, nullptr));
    return;
  }
  const std::string data_path = path + ".data";
  if (!options.source.empty()) require_distinct(options.source, data_path);
  AtomicFile data(data_path);
  const size_t slash = path.rfind('/');
  ExternalData external{(slash == std::string::npos ? path : path.substr(slash + 1)) + ".data",
                        data};
  const std::string model = serialize(graph, options, &external);
  data.commit();
  write_atomically(path, model);
}

}  // namespace vitrail
