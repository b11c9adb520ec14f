// SPDX-License-Identifier: Apache-2.0
#include "import/onnx_builder.h"

#include <algorithm>
#include <set>

#include "import/onnx_scope.h"
#include "import/op_history.h"

namespace vitrail::onnx_import {
namespace {

std::string clean_symbol(const std::string& text) {
  std::string out;
  for (char c : text.substr(0, 80))
    out += std::isalnum(static_cast<unsigned char>(c)) || c == '_' ? c : '_';
  if (out.empty() || std::isdigit(static_cast<unsigned char>(out[0]))) out = "_" + out;
  return out;
}

std::optional<Declared> declared_type(const onnx::ValueInfoProto& info) {
  if (!info.type().has_tensor_type()) return {};
  const auto& type = info.type().tensor_type();
  Declared out;
  out.dtype = dtype_from_onnx(type.elem_type());
  if (type.has_shape()) {
    out.dims.emplace();
    for (const auto& dim : type.shape().dim())
      out.dims->push_back(
          dim.value_case() == onnx::TensorShapeProto::Dimension::kDimValue ? dim.dim_value() : -1);
  }
  return out;
}

}  // namespace

bool Scope::visible(const std::string& name) const {
  return values_.contains(name) || (parent_ && parent_->visible(name));
}

// A value of an outer graph becomes an input of this body; constants are copied (sharing memory),
// so that shapes that depend on them stay known.
std::optional<ValueId> Scope::lookup(const std::string& name) {
  if (const auto found = values_.find(name); found != values_.end()) return found->second;
  if (!parent_) return {};
  const auto outer = parent_->lookup(name);
  if (!outer) return {};
  return values_[name] = capture(*outer);
}

ValueId Scope::capture(ValueId outer) {
  const ir::Value& value = parent_->graph_.value(outer);
  if (value.is_constant()) return graph_.add_constant(value.name, value.constant);
  for (const auto& [known, inner] : captures_)
    if (known == outer) return inner;
  const ValueId inner = graph_.add_value(value.name, value.dtype, value.shape);
  graph_.value(inner).content = value.content;
  captures_.emplace_back(outer, inner);
  if (parent_->untyped(outer)) untyped_->insert(inner);
  return inner;
}

void Scope::define(const std::string& name, ValueId id, const char* what) {
  require(!name.empty(), Code::bad_input, "{} has no name", what);
  require(values_.emplace(name, id).second, Code::bad_input, "{} {} is defined twice", what,
          shown(name));
}

void Scope::add_initializers(onnx::GraphProto& proto) {
  const auto add = [&](const std::string& name, auto read) {
    require(!name.empty(), Code::bad_input, "an initializer has no name");
    with_context("initializer " + shown(name),
                 [&] { define(name, graph_.add_constant(ir_name(name), read()), "initializer"); });
  };
  for (auto& tensor : *proto.mutable_initializer())
    add(tensor.name(), [&] { return model_.tensors.read(tensor); });
  for (auto& sparse : *proto.mutable_sparse_initializer())
    add(sparse.values().name(), [&] { return model_.tensors.read_sparse(sparse); });
}

void Scope::add_main_inputs(const onnx::GraphProto& proto) {
  std::set<std::string> initializers, names;
  for (const auto& tensor : proto.initializer()) initializers.insert(tensor.name());
  for (const auto& sparse : proto.sparse_initializer()) initializers.insert(sparse.values().name());
  std::map<std::string, std::string> symbols;  // dim_param to symbol
  std::set<std::string> taken;
  std::map<std::string, Expr, std::less<>> fixed;  // symbols that a given shape makes a number
  const auto symbol_for = [&](const std::string& param) {
    const auto [at, fresh] = symbols.emplace(param, clean_symbol(param));
    while (fresh && !taken.insert(at->second).second) at->second += "_";
    return at->second;
  };
  struct Input {
    std::string name;
    DType dtype;
    Shape shape;
  };
  std::vector<Input> inputs;
  std::string valid;
  for (const auto& info : proto.input()) {
    require(!info.name().empty(), Code::bad_input, "an input has no name");
    require(names.insert(info.name()).second, Code::bad_input, "input {} is defined twice",
            shown(info.name()));
    if (initializers.contains(info.name()))
      continue;  // a default value: IR version 3 lists weights as inputs
    valid += (valid.empty() ? "" : ", ") + shown(info.name());
    with_context("input " + shown(info.name()), [&] {
      require(info.has_type(), Code::bad_input, "the type is missing");
      require(info.type().has_tensor_type(), Code::unsupported,
              "sequences, maps and optionals are not supported");
      const auto& type = info.type().tensor_type();
      const auto dtype = dtype_from_onnx(type.elem_type());
      require(dtype.has_value(), Code::unsupported, "element type {} is not supported",
              onnx_type_name(type.elem_type()));
      const auto given = model_.options.input_shapes.find(info.name());
      const bool replaced = given != model_.options.input_shapes.end();
      require(type.has_shape() || replaced, Code::unsupported,
              "the model does not say its shape; give one, for example {}:1x3x224x224",
              printable(info.name()));
      const int rank =
          type.has_shape() ? type.shape().dim_size() : static_cast<int>(given->second.size());
      require(rank <= 64, Code::bad_input, "{} dimensions", rank);
      require(!replaced || static_cast<int>(given->second.size()) == rank, Code::usage,
              "the shape given has {} extents, the model's {}", replaced ? given->second.size() : 0,
              rank);
      Shape shape;
      for (int axis = 0; axis < rank; ++axis) {
        const onnx::TensorShapeProto::Dimension unknown;
        const auto& dim = type.has_shape() ? type.shape().dim(axis) : unknown;
        const bool number = dim.value_case() == onnx::TensorShapeProto::Dimension::kDimValue &&
                            dim.dim_value() != -1;
        require(!number || dim.dim_value() >= 0, Code::bad_input, "extent {} is {}", axis,
                dim.dim_value());
        Expr extent = dim.dim_value();
        if (!number)
          extent = Expr::symbol(symbol_for(!dim.dim_param().empty()
                                               ? dim.dim_param()
                                               : info.name() + "_" + std::to_string(axis)));
        const int64_t wanted = replaced ? given->second[static_cast<size_t>(axis)] : -1;
        require(wanted >= -1, Code::usage, "the shape given has the extent {}", wanted);
        if (wanted >= 0 && !number) {
          const auto [at, fresh] = fixed.emplace(extent.str(), Expr(wanted));
          require(fresh || at->second.is(wanted), Code::usage,
                  "the shapes given make '{}' both {} and {}", extent.str(), at->second.str(),
                  wanted);
        } else if (wanted >= 0) {
          extent = wanted;
        }
        shape.push_back(std::move(extent));
      }
      inputs.push_back({info.name(), *dtype, std::move(shape)});
    });
  }
  for (const auto& [name, dims] : model_.options.input_shapes) {
    const bool known =
        std::any_of(inputs.begin(), inputs.end(),
                    [&, &wanted = name](const Input& input) { return input.name == wanted; });
    require(known, Code::usage, "a shape is given for {}, but the model's inputs are {}",
            shown(name), valid);
  }
  for (Input& input : inputs) {
    for (Expr& extent : input.shape) extent = extent.substitute(fixed);
    define(input.name, graph_.add_input(input.name, input.dtype, std::move(input.shape)), "input");
  }
}

void Scope::add_outputs(const onnx::GraphProto& proto) {
  std::set<std::string> names;
  for (const auto& info : proto.output()) {
    require(!info.name().empty(), Code::bad_input, "an output has no name");
    require(names.insert(info.name()).second, Code::bad_input, "output {} is listed twice",
            shown(info.name()));
    const auto id = lookup(info.name());
    require(id.has_value(), Code::bad_input, "output {} is produced by no node",
            shown(info.name()));
    ValueId result = *id;
    // A function may hand an input through: then the output's name needs a value of its own.
    const bool named_so = graph_.value(result).name == info.name();
    const bool taken =
        std::find(graph_.outputs.begin(), graph_.outputs.end(), result) != graph_.outputs.end();
    const OpDef* identity = find_op("", "Identity");
    if (identity && (taken || (!named_so && !graph_.producer(result)))) {
      ir::Node copy;
      copy.op = identity;
      copy.inputs = {result};
      copy.outputs = {graph_.add_value(info.name(), DType::f32, {})};
      result = copy.outputs[0];
      graph_.infer(graph_.add_raw_node(std::move(copy)));
    } else if (!named_so) {
      // Another value got the name first; outputs keep theirs.
      if (const auto other = graph_.find_value(info.name()))
        std::swap(graph_.value(*other).name, graph_.value(result).name);
    }
    graph_.outputs.push_back(result);
  }
}

void Scope::compare_declared(const onnx::GraphProto& proto) {
  constexpr size_t kMostWarnings = 20;
  size_t found = 0;
  const auto compare = [&](const onnx::ValueInfoProto& info, const char* what) {
    const auto at = values_.find(info.name());
    const auto declared = declared_type(info);
    if (at == values_.end() || !declared || untyped(at->second)) return;
    const ir::Value& value = graph_.value(at->second);
    std::string text;
    if (declared->dtype && *declared->dtype != value.dtype)
      text =
          fmt::format("declared {}, inferred {}", name_of(*declared->dtype), name_of(value.dtype));
    if (declared->dims) {
      bool equal = declared->dims->size() == value.shape.size();
      for (size_t d = 0; equal && d < value.shape.size(); ++d)
        equal = (*declared->dims)[d] < 0 || !value.shape[d].is_constant() ||
                value.shape[d].is((*declared->dims)[d]);
      if (!equal) {
        std::string dims;
        for (int64_t d : *declared->dims)
          dims += (dims.empty() ? "" : ",") + (d < 0 ? "?" : std::to_string(d));
        text += fmt::format("{}declared shape [{}], inferred {}", text.empty() ? "" : "; ", dims,
                            to_string(value.shape));
      }
    }
    if (text.empty() || ++found > kMostWarnings) return;
    graph_.warnings.push_back(
        fmt::format("{} {}: {}; the inferred one holds", what, shown(info.name()), text));
  };
  for (const auto& info : proto.output()) compare(info, "output");
  for (const auto& info : proto.value_info()) compare(info, "value");
  if (found > kMostWarnings)
    graph_.warnings.push_back(
        fmt::format("{} more values are declared with other types or shapes than inferred",
                    found - kMostWarnings));
}

void Scope::declare(const onnx::GraphProto& proto) {
  for (const auto* list : {&proto.value_info(), &proto.output()})
    for (const auto& info : *list)
      if (auto type = declared_type(info)) declared_[info.name()] = std::move(*type);
}

std::string canonical_domain(const std::string& domain) {
  return domain == "ai.onnx" ? "" : domain;
}

Opsets read_opsets(const google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>& imports) {
  Opsets out;
  for (const auto& import : imports) {
    const std::string domain = canonical_domain(import.domain());
    require(out.emplace(domain, import.version()).second, Code::bad_input,
            "the opset of domain {} is imported twice", shown(domain.empty() ? "ai.onnx" : domain));
    require(
        !domain.empty() || (import.version() >= kOldestOpset && import.version() <= kNewestOpset),
        Code::unsupported, "the model is written for ONNX opset {}; opsets {} to {} are supported",
        import.version(), kOldestOpset, kNewestOpset);
  }
  return out;
}

Model::Model(onnx::ModelProto& proto, const std::string& folder, const ImportOptions& options)
    : proto(proto), options(options), tensors(folder), opsets(read_opsets(proto.opset_import())) {
  for (const auto& function : proto.functions()) {
    const std::string key =
        canonical_domain(function.domain()) + ":" + function.name() + ":" + function.overload();
    require(functions.emplace(key, &function).second, Code::bad_input,
            "the local function {} is defined twice", shown(function.name()));
  }
}

ir::Graph build_main_graph(Model& model) {
  ir::Graph graph;
  onnx::GraphProto& proto = *model.proto.mutable_graph();
  if (!proto.name().empty()) graph.name = proto.name();
  Scope scope(model, graph, model.opsets, nullptr, "");
  scope.add_main_inputs(proto);
  scope.add_initializers(proto);
  scope.declare(proto);
  std::vector<std::string_view> results;
  for (const auto& info : proto.output()) results.push_back(info.name());
  scope.add_nodes(*proto.mutable_node(), results);
  scope.add_outputs(proto);
  scope.compare_declared(proto);
  return graph;
}

}  // namespace vitrail::onnx_import
