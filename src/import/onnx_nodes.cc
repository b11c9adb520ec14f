// SPDX-License-Identifier: Apache-2.0
// Nodes, constants and local functions.
#include <algorithm>
#include <cmath>
#include <deque>
#include <mutex>

#include "import/onnx_scope.h"
#include "import/op_history.h"
#include "import/upgrade.h"

namespace vitrail::onnx_import {
namespace {

// What the calls of local functions may expand to: a few functions that call each other twice would
// otherwise fill the memory.
constexpr int64_t kMostExpanded = 200'000;
constexpr size_t kMostExpandedBytes = size_t{512} << 20;
constexpr size_t kDeepestFunction = 100;  // ONNX's own checker stops there too

// An op this version lacks, so that inspection can hold and print the node. Kept for the life of
// the process: nodes refer to ops by address.
const OpDef& placeholder_op(const std::string& domain, const std::string& name) {
  struct Entry {
    std::string name, domain, shown;
    OpDef def;
  };
  static std::mutex mutex;
  static std::deque<Entry> entries;
  const std::lock_guard lock(mutex);
  for (const Entry& entry : entries)
    if (entry.name == name && entry.domain == printable(domain)) return entry.def;
  Entry& entry = entries.emplace_back(Entry{name, printable(domain), {}, {}});
  entry.shown = printable(name);
  entry.def.name = entry.shown.c_str();
  entry.def.domain = entry.domain.c_str();
  entry.def.max_inputs = entry.def.max_outputs = kMany;
  entry.def.infer = [](InferContext&) { fail(Code::unsupported, "this op is not supported"); };
  entry.def.reference = [](RunContext&) { fail(Code::unsupported, "this op is not supported"); };
  entry.def.samples = [] { return std::vector<Sample>{}; };
  return entry.def;
}

// Float attributes as the shortest decimal that gives the same float: 1e-05f is meant as 1e-05.
double widen(float value) {
  if (!std::isfinite(value)) return value;
  return std::stod(fmt::format("{}", value));
}

bool can_be_known(const std::string& domain, const std::string& op) {
  return find_op(domain, op) != nullptr || has_upgrade(domain, op) ||
         (domain.empty() && op == "Scan");
}

}  // namespace

// Inside functions an attribute may name one of the call.
const onnx::AttributeProto* Scope::resolve(const onnx::AttributeProto& attribute) const {
  if (attribute.ref_attr_name().empty()) return &attribute;
  require(function_, Code::bad_input,
          "attribute {} refers to an attribute of a function, outside of one",
          shown(attribute.name()));
  const auto found = arguments_.find(attribute.ref_attr_name());
  return found == arguments_.end() ? nullptr : found->second;
}

Attrs Scope::attributes(const onnx::NodeProto& node) {
  Attrs out;
  for (const auto& own : node.attribute()) {
    const onnx::AttributeProto* a = resolve(own);
    if (!a) continue;
    const std::string& name = own.name();
    require(!name.empty(), Code::bad_input, "an attribute has no name");
    require(!out.has(name), Code::bad_input, "attribute {} is given twice", shown(name));
    switch (a->type()) {
      case onnx::AttributeProto::INT:
        out.set(name, a->i());
        break;
      case onnx::AttributeProto::FLOAT:
        out.set(name, widen(a->f()));
        break;
      case onnx::AttributeProto::STRING:
        out.set(name, a->s());
        break;
      case onnx::AttributeProto::INTS:
        out.set(name, std::vector<int64_t>(a->ints().begin(), a->ints().end()));
        break;
      case onnx::AttributeProto::FLOATS: {
        std::vector<double> values;
        for (float f : a->floats()) values.push_back(widen(f));
        out.set(name, std::move(values));
        break;
      }
      case onnx::AttributeProto::STRINGS:
        out.set(name, std::vector<std::string>(a->strings().begin(), a->strings().end()));
        break;
      case onnx::AttributeProto::TENSOR: {
        onnx::TensorProto copy = a->t();  // functions are expanded several times
        with_context("attribute " + shown(name), [&] { out.set(name, model_.tensors.read(copy)); });
        break;
      }
      case onnx::AttributeProto::GRAPH:
      case onnx::AttributeProto::GRAPHS:
        fail(Code::unsupported, "attribute {} is a graph, which is supported in If and Loop only",
             shown(name));
      default:
        fail(a->type() == onnx::AttributeProto::UNDEFINED ? Code::bad_input : Code::unsupported,
             "attribute {} has the type {}", shown(name), static_cast<int>(a->type()));
    }
  }
  return out;
}

std::vector<ValueId> Scope::inputs_of(const onnx::NodeProto& node) {
  std::vector<ValueId> out;
  for (const auto& name : node.input()) {
    if (name.empty()) {
      out.push_back(kNoValue);
      continue;
    }
    const auto found = lookup(name);
    require(found.has_value(), Code::bad_input, "input {} is not defined", shown(name));
    out.push_back(*found);
  }
  while (!out.empty() && !out.back().valid()) out.pop_back();
  return out;
}

std::string Scope::input_types(const onnx::NodeProto& node) {
  std::string out;
  for (const auto& name : node.input()) {
    if (out.size() > 300) return out + ", ...";
    if (!out.empty()) out += ", ";
    const auto id = name.empty() ? std::nullopt : lookup(name);
    if (!id)
      out += "-";
    else if (untyped(*id))
      out += "?";
    else
      out += name_of(graph_.value(*id).dtype) + to_string(graph_.value(*id).shape);
  }
  return out;
}

std::string why_unknown(const std::string& domain, const std::string& op) {
  if (!domain.empty()) return "ops of this domain are not known";
  if (onnx_op_since(op) > 0) return "this version does not support the op";
  const std::string near = nearest_onnx_op(op);
  return near.empty() ? "ONNX has no such op" : "ONNX has no such op; did you mean '" + near + "'?";
}

void Scope::add_node(onnx::NodeProto& node, int index) {
  const std::string plain = label(node, index);
  const std::string name = prefix_.empty() ? plain : prefix_ + "/" + plain;
  const std::string domain = canonical_domain(node.domain());
  const auto context = fmt::format("node {} ({})", shown(name), printable(node.op_type()));
  with_context(context, [&] {
    require(!node.op_type().empty(), Code::bad_input, "it names no op");
    if (const auto function =
            model_.functions.find(domain + ":" + node.op_type() + ":" + node.overload());
        function != model_.functions.end())
      return expand(node, name, *function->second);
    const auto imported = opsets_.find(domain);
    require(imported != opsets_.end(), Code::bad_input,
            "its domain {} is not among the model's opset imports", shown(domain));
    const int64_t opset = imported->second;
    if (domain.empty() && node.op_type() == "Constant") return add_constant_node(node);
    try {
      bool known_inputs = true;
      for (ValueId in : inputs_of(node)) known_inputs &= !in.valid() || !untyped(in);
      if (!known_inputs)
        return add_unsupported(
            node, name, opset,
            can_be_known(domain, node.op_type()) ? "" : why_unknown(domain, node.op_type()));
      if (domain.empty() && node.op_type() == "If") return add_if(node, name);
      if (domain.empty() && node.op_type() == "Loop") return add_loop(node, name);
      if (domain.empty() && node.op_type() == "Scan") return add_scan(node, name, opset);
      add_known(node, name, opset);
    } catch (const Error& error) {
      if (error.code != Code::unsupported) throw;
      add_unsupported(node, name, opset, error.what());
    }
  });
}

void Scope::add_known(const onnx::NodeProto& node, const std::string& name, int64_t opset) {
  Lift lift(graph_, node.op_type(), canonical_domain(node.domain()), name);
  lift.attrs = attributes(node);
  lift.inputs = inputs_of(node);
  lift.sources = {name};
  for (const auto& output : node.output())
    lift.outputs_used.push_back(!output.empty() && used_.contains(output));
  if (const int since = onnx_op_since(lift.op); lift.domain.empty() && since > opset)
    graph_.warnings.push_back(fmt::format(
        "node {} ({}): the op exists since opset {}, the model says it is written for {}",
        shown(name), lift.op, since, opset));
  upgrade(lift, opset);
  for (std::string& warning : lift.warnings)
    graph_.warnings.push_back(
        fmt::format("node {} ({}): {}", shown(name), node.op_type(), warning));

  const OpDef* def = find_op(lift.domain, lift.op);
  require(def != nullptr, Code::unsupported, "{}", why_unknown(lift.domain, lift.op));
  drop_neutral_attributes(*def, lift.attrs);
  ir::Node made;
  made.name = name;
  made.op = def;
  made.attrs = std::move(lift.attrs);
  made.inputs = std::move(lift.inputs);
  made.sources = std::move(lift.sources);
  size_t count = lift.outputs_used.size();
  while (count > 1 && !lift.outputs_used[count - 1] && static_cast<int>(count) > def->min_outputs &&
         static_cast<int>(count) > def->max_outputs)
    --count;  // outputs that only an older form had
  for (int i = 0; i < node.output_size(); ++i) {
    const auto position = static_cast<size_t>(i);
    const std::string& output = node.output(i);
    if (const auto other = lift.bound.find(position); other != lift.bound.end()) {
      graph_.rename_value(other->second, ir_name(output));
      define(output, other->second, "value");
    } else if (position < count) {
      made.outputs.push_back(output.empty() ? kNoValue
                                            : graph_.add_value(ir_name(output), DType::f32, {}));
    }
  }
  const std::vector<ValueId> outputs = made.outputs;
  while (!made.outputs.empty() && !made.outputs.back().valid()) made.outputs.pop_back();
  require(!made.outputs.empty(), Code::bad_input, "it has no output");
  const ir::NodeId id = graph_.add_raw_node(std::move(made));
  try {
    graph_.infer(id);
  } catch (const Error& error) {
    // Unsupported nodes are made anew as placeholders; the values keep nothing of this attempt.
    for (ValueId out : outputs)
      if (out.valid()) graph_.retire_value(out);
    graph_.remove_node(id);
    const std::string_view what = error.what();  // add_node gives the context, once
    const std::string prefix = fmt::format("node '{}' ({}): ", printable(name), def->name);
    throw Error(error.code,
                std::string(what.starts_with(prefix) ? what.substr(prefix.size()) : what));
  }
  for (size_t i = 0; i < outputs.size(); ++i)
    if (outputs[i].valid()) define(node.output(static_cast<int>(i)), outputs[i], "value");
}

void Scope::add_unsupported(const onnx::NodeProto& node, const std::string& name, int64_t opset,
                            const std::string& reason) {
  if (!reason.empty())
    model_.unsupported.push_back(
        {name, node.op_type(), canonical_domain(node.domain()), opset, input_types(node), reason});
  ir::Node made;
  made.name = name;
  made.op = &placeholder_op(canonical_domain(node.domain()), node.op_type());
  for (const auto& input : node.input())
    made.inputs.push_back(input.empty() ? kNoValue : *lookup(input));
  made.sources = {name};
  for (const auto& output : node.output()) {
    if (output.empty() || values_.contains(output)) {
      made.outputs.push_back(kNoValue);
      continue;
    }
    const ValueId id = graph_.add_value(ir_name(output), DType::f32, {});
    const auto declared = declared_.find(output);
    if (declared != declared_.end() && declared->second.dtype)
      graph_.value(id).dtype = *declared->second.dtype;
    const auto& dims = declared != declared_.end() ? declared->second.dims : std::nullopt;
    const bool fixed =
        dims && std::all_of(dims->begin(), dims->end(), [](int64_t d) { return d >= 0; });
    if (fixed)
      graph_.value(id).shape = to_shape(*dims);
    else
      untyped_->insert(id);
    define(output, id, "value");
    made.outputs.push_back(id);
  }
  while (!made.outputs.empty() && !made.outputs.back().valid()) made.outputs.pop_back();
  graph_.add_raw_node(std::move(made));
}

void Scope::add_constant_node(onnx::NodeProto& node) {
  require(node.output_size() == 1 && !node.output(0).empty(), Code::bad_input,
          "a Constant has one output");
  require(node.attribute_size() == 1, Code::bad_input, "a Constant has one attribute, found {}",
          node.attribute_size());
  const onnx::AttributeProto* a = resolve(node.attribute(0));
  require(a != nullptr, Code::bad_input, "the call lacks the attribute {}",
          shown(node.attribute(0).ref_attr_name()));
  const std::string kind = node.attribute(0).name();
  onnx::AttributeProto copy;  // of an attribute of the call, which others may read too
  if (a != &node.attribute(0)) copy = *a;
  onnx::AttributeProto& own = a == &node.attribute(0) ? *node.mutable_attribute(0) : copy;
  Tensor value;
  if (kind == "value") {
    require(a->has_t(), Code::bad_input, "attribute 'value' is no tensor");
    value = model_.tensors.read(*own.mutable_t());
  } else if (kind == "sparse_value") {
    require(a->has_sparse_tensor(), Code::bad_input,
            "attribute 'sparse_value' is no sparse tensor");
    value = model_.tensors.read_sparse(*own.mutable_sparse_tensor());
  } else if (kind == "value_float") {
    value = Tensor::scalar<float>(a->f());
  } else if (kind == "value_floats") {
    value = Tensor::of<float>({a->floats_size()},
                              std::vector<float>(a->floats().begin(), a->floats().end()));
  } else if (kind == "value_int") {
    value = Tensor::scalar<int64_t>(a->i());
  } else if (kind == "value_ints") {
    value = Tensor::of<int64_t>({a->ints_size()},
                                std::vector<int64_t>(a->ints().begin(), a->ints().end()));
  } else {
    fail(kind == "value_string" || kind == "value_strings" ? Code::unsupported : Code::bad_input,
         "a Constant given by attribute {} is not supported", shown(kind));
  }
  define(node.output(0), graph_.add_constant(ir_name(node.output(0)), std::move(value)), "value");
}

void Scope::expand(const onnx::NodeProto& node, const std::string& name,
                   const onnx::FunctionProto& function) {
  require(std::find(model_.active.begin(), model_.active.end(), &function) == model_.active.end(),
          Code::bad_input, "the local function {} calls itself", shown(function.name()));
  require(model_.active.size() < kDeepestFunction, Code::bad_input,
          "local functions nest deeper than {}", kDeepestFunction);
  model_.expanded += function.node_size();
  model_.expanded_bytes += function.ByteSizeLong();
  require(model_.expanded <= kMostExpanded && model_.expanded_bytes <= kMostExpandedBytes,
          Code::bad_input, "local functions expand to more than {} nodes or {} MiB", kMostExpanded,
          kMostExpandedBytes >> 20);
  require(
      node.input_size() <= function.input_size() && node.output_size() <= function.output_size(),
      Code::bad_input, "the call has {} inputs and {} outputs, the local function {} and {}",
      node.input_size(), node.output_size(), function.input_size(), function.output_size());
  const Opsets opsets =
      function.opset_import_size() > 0 ? read_opsets(function.opset_import()) : opsets_;
  Scope inner(model_, graph_, opsets, nullptr, name);
  inner.function_ = true;
  inner.untyped_ = untyped_;
  std::unordered_set<std::string> absent;
  for (int i = 0; i < function.input_size(); ++i) {
    const std::string& formal = function.input(i);
    if (i >= node.input_size() || node.input(i).empty())
      absent.insert(formal);
    else
      inner.define(formal, *lookup(node.input(i)), "function input");
  }
  for (const auto& attribute : function.attribute_proto())
    inner.arguments_[attribute.name()] = &attribute;
  for (const auto& attribute : node.attribute())
    if (const auto* value = resolve(attribute)) inner.arguments_[attribute.name()] = value;
  for (int i = 0; i < node.output_size(); ++i)
    if (!node.output(i).empty()) inner.renamed_[function.output(i)] = ir_name(node.output(i));

  // An absent optional input is an absent input of the nodes that read it.
  Nodes nodes = function.node();
  if (!absent.empty())
    for (auto& n : nodes)
      for (auto& input : *n.mutable_input())
        if (absent.contains(input)) input.clear();
  model_.active.push_back(&function);
  inner.add_nodes(nodes, {function.output().begin(), function.output().end()});
  model_.active.pop_back();
  for (int i = 0; i < node.output_size(); ++i) {
    if (node.output(i).empty()) continue;
    const auto result = inner.lookup(function.output(i));
    require(result.has_value(), Code::bad_input, "output {} of the local function is not defined",
            shown(function.output(i)));
    define(node.output(i), *result, "value");
  }
}

}  // namespace vitrail::onnx_import
