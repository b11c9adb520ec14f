// SPDX-License-Identifier: Apache-2.0
#include "import/onnx_builder.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <mutex>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "import/op_history.h"
#include "import/upgrade.h"

namespace vitrail::onnx_import {
namespace {
using ir::kNoValue;
using ir::ValueId;
using Nodes = google::protobuf::RepeatedPtrField<onnx::NodeProto>;
using AttrMap = std::map<std::string, const onnx::AttributeProto*, std::less<>>;

// What the calls of local functions may expand to: a few functions that call each other twice would
// otherwise fill the memory.
constexpr int64_t kMostExpanded = 1'000'000;
constexpr size_t kMostExpandedBytes = size_t{512} << 20;
constexpr size_t kDeepestFunction = 100;  // ONNX's own checker stops there too

std::string shown(const std::string& name) { return "'" + printable(name) + "'"; }

std::string label(const onnx::NodeProto& node, int index) {
  return node.name().empty() ? node.op_type() + "_" + std::to_string(index) : node.name();
}

// An op this version lacks, so that inspection can hold and print the node. Kept for the life of the
// process: nodes refer to ops by address.
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

std::string clean_symbol(const std::string& text) {
  std::string out;
  for (char c : text.substr(0, 80)) out += std::isalnum(static_cast<unsigned char>(c)) || c == '_' ? c : '_';
  if (out.empty() || std::isdigit(static_cast<unsigned char>(out[0]))) out = "_" + out;
  return out;
}

// What the model says of a value: its element type, and its extents where they are numbers.
struct Declared {
  std::optional<DType> dtype;
  std::optional<std::vector<int64_t>> dims;  // -1: not a number
};
std::optional<Declared> declared_type(const onnx::ValueInfoProto& info) {
  if (!info.type().has_tensor_type()) return {};
  const auto& type = info.type().tensor_type();
  Declared out;
  out.dtype = dtype_from_onnx(type.elem_type());
  if (type.has_shape()) {
    out.dims.emplace();
    for (const auto& dim : type.shape().dim())
      out.dims->push_back(dim.value_case() == onnx::TensorShapeProto::Dimension::kDimValue ? dim.dim_value() : -1);
  }
  return out;
}

class BodyBuilder;

/// One namespace of the model: a graph, a body of If or Loop, or an expanded function (which shares
/// the graph of its caller).
class Scope {
 public:
  Scope(Model& model, ir::Graph& graph, const Opsets& opsets, Scope* parent, std::string prefix)
      : model_(model), graph_(graph), opsets_(opsets), parent_(parent), prefix_(std::move(prefix)) {}

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
  bool visible(const std::string& name) const;
  void define(const std::string& name, ValueId id, const char* what);
  bool untyped(ValueId id) const { return untyped_ ? untyped_->contains(id) : false; }
  std::string ir_name(const std::string& name) const {
    const auto renamed = renamed_.find(name);
    return renamed != renamed_.end() ? renamed->second : prefix_.empty() ? name : prefix_ + "/" + name;
  }

  std::vector<int> order(const Nodes& nodes);
  void add_node(onnx::NodeProto& node, int index);
  void add_known(const onnx::NodeProto& node, const std::string& name, int64_t opset);
  void add_unsupported(const onnx::NodeProto& node, const std::string& name, int64_t opset, const std::string& reason);
  void add_constant_node(onnx::NodeProto& node);
  void expand(const onnx::NodeProto& node, const std::string& name, const onnx::FunctionProto& function);
  void add_if(onnx::NodeProto& node, const std::string& name);
  void add_loop(onnx::NodeProto& node, const std::string& name);
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
  AttrMap arguments_;        // attributes of the call, for functions
  bool function_ = false;
  std::vector<std::pair<ValueId, ValueId>> captures_;  // value of the parent, input of this body
};

bool Scope::visible(const std::string& name) const {
  return values_.contains(name) || (parent_ && parent_->visible(name));
}

// A value of an outer graph becomes an input of this body; constants are copied (sharing memory), so
// that shapes that depend on them stay known.
std::optional<ValueId> Scope::lookup(const std::string& name) {
  if (const auto found = values_.find(name); found != values_.end()) return found->second;
  if (!parent_) return {};
  const auto outer = parent_->lookup(name);
  if (!outer) return {};
  const ir::Value& value = parent_->graph_.value(*outer);
  ValueId inner;
  if (value.is_constant()) {
    inner = graph_.add_constant(value.name, value.constant);
  } else {
    inner = graph_.add_value(value.name, value.dtype, value.shape);
    graph_.value(inner).content = value.content;
    captures_.emplace_back(*outer, inner);
    if (parent_->untyped(*outer)) untyped_->insert(inner);
  }
  values_[name] = inner;
  return inner;
}

void Scope::define(const std::string& name, ValueId id, const char* what) {
  require(!name.empty(), Code::bad_input, "{} has no name", what);
  require(values_.emplace(name, id).second, Code::bad_input, "{} {} is defined twice", what, shown(name));
}

void Scope::add_initializers(onnx::GraphProto& proto) {
  const auto add = [&](const std::string& name, auto read) {
    require(!name.empty(), Code::bad_input, "an initializer has no name");
    with_context("initializer " + shown(name), [&] { define(name, graph_.add_constant(ir_name(name), read()), "initializer"); });
  };
  for (auto& tensor : *proto.mutable_initializer()) add(tensor.name(), [&] { return model_.tensors.read(tensor); });
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
    require(names.insert(info.name()).second, Code::bad_input, "input {} is defined twice", shown(info.name()));
    if (initializers.contains(info.name())) continue;  // a default value: IR version 3 lists weights as inputs
    valid += (valid.empty() ? "" : ", ") + shown(info.name());
    with_context("input " + shown(info.name()), [&] {
      require(info.has_type(), Code::bad_input, "the type is missing");
      require(info.type().has_tensor_type(), Code::unsupported, "sequences, maps and optionals are not supported");
      const auto& type = info.type().tensor_type();
      const auto dtype = dtype_from_onnx(type.elem_type());
      require(dtype.has_value(), Code::unsupported, "element type {} is not supported", onnx_type_name(type.elem_type()));
      const auto given = model_.options.input_shapes.find(info.name());
      const bool replaced = given != model_.options.input_shapes.end();
      require(type.has_shape() || replaced, Code::unsupported,
              "the model does not say its shape; give one, for example {}:1x3x224x224", printable(info.name()));
      const int rank = type.has_shape() ? type.shape().dim_size() : static_cast<int>(given->second.size());
      require(rank <= 64, Code::bad_input, "{} dimensions", rank);
      require(!replaced || static_cast<int>(given->second.size()) == rank, Code::usage,
              "the shape given has {} extents, the model's {}", replaced ? given->second.size() : 0, rank);
      Shape shape;
      for (int axis = 0; axis < rank; ++axis) {
        const onnx::TensorShapeProto::Dimension unknown;
        const auto& dim = type.has_shape() ? type.shape().dim(axis) : unknown;
        const bool number = dim.value_case() == onnx::TensorShapeProto::Dimension::kDimValue && dim.dim_value() != -1;
        require(!number || dim.dim_value() >= 0, Code::bad_input, "extent {} is {}", axis, dim.dim_value());
        Expr extent = dim.dim_value();
        if (!number)
          extent = Expr::symbol(symbol_for(!dim.dim_param().empty() ? dim.dim_param() : info.name() + "_" + std::to_string(axis)));
        const int64_t wanted = replaced ? given->second[static_cast<size_t>(axis)] : -1;
        require(wanted >= -1, Code::usage, "the shape given has the extent {}", wanted);
        if (wanted >= 0 && !number) {
          const auto [at, fresh] = fixed.emplace(extent.str(), Expr(wanted));
          require(fresh || at->second.is(wanted), Code::usage, "the shapes given make '{}' both {} and {}", extent.str(),
                  at->second.str(), wanted);
        } else if (wanted >= 0) {
          extent = wanted;
        }
        shape.push_back(std::move(extent));
      }
      inputs.push_back({info.name(), *dtype, std::move(shape)});
    });
  }
  for (const auto& [name, dims] : model_.options.input_shapes) {
    const bool known = std::any_of(inputs.begin(), inputs.end(), [&](const Input& input) { return input.name == name; });
    require(known, Code::usage, "a shape is given for {}, but the model's inputs are {}", shown(name), valid);
  }
  for (Input& input : inputs) {
    for (Expr& extent : input.shape) extent = extent.substitute(fixed);
    define(input.name, graph_.add_input(input.name, input.dtype, std::move(input.shape)), "input");
  }
}

// ---------------------------------------------------------------- order

// Names that a subgraph reads and does not define itself.
void collect_free_names(const onnx::GraphProto& graph, std::vector<const std::string*>& out) {
  std::unordered_set<std::string_view> own;
  for (const auto& info : graph.input()) own.insert(info.name());
  for (const auto& tensor : graph.initializer()) own.insert(tensor.name());
  for (const auto& sparse : graph.sparse_initializer()) own.insert(sparse.values().name());
  for (const auto& node : graph.node())
    for (const auto& name : node.output()) own.insert(name);
  const auto read = [&](const std::string& name) {
    if (!name.empty() && !own.contains(name)) out.push_back(&name);
  };
  for (const auto& node : graph.node()) {
    for (const auto& name : node.input()) read(name);
    for (const auto& attribute : node.attribute()) {
      std::vector<const std::string*> inner;
      if (attribute.has_g()) collect_free_names(attribute.g(), inner);
      for (const auto& g : attribute.graphs()) collect_free_names(g, inner);
      for (const std::string* name : inner) read(*name);
    }
  }
  for (const auto& info : graph.output()) read(info.name());
}

std::vector<const std::string*> names_read(const onnx::NodeProto& node) {
  std::vector<const std::string*> out;
  for (const auto& name : node.input())
    if (!name.empty()) out.push_back(&name);
  for (const auto& attribute : node.attribute()) {
    if (attribute.has_g()) collect_free_names(attribute.g(), out);
    for (const auto& g : attribute.graphs()) collect_free_names(g, out);
  }
  return out;
}

[[noreturn]] void fail_cycle(const Nodes& nodes, const std::vector<std::vector<int>>& before, const std::vector<int>& waiting) {
  // Every waiting node has a waiting predecessor, so walking back must meet itself.
  int at = 0;
  while (waiting[static_cast<size_t>(at)] == 0) ++at;
  std::vector<int> path;
  std::set<int> seen;
  while (seen.insert(at).second) {
    path.push_back(at);
    for (int b : before[static_cast<size_t>(at)])
      if (waiting[static_cast<size_t>(b)] > 0) {
        at = b;
        break;
      }
  }
  std::string loop = shown(label(nodes[at], at));
  size_t listed = 0;
  for (size_t i = path.size(); i-- > 0;) {
    if (++listed > 12) {
      loop += " -> ...";
      break;
    }
    loop += " -> " + shown(label(nodes[path[i]], path[i]));
    if (path[i] == at) break;
  }
  fail(Code::bad_input, "the graph has a cycle: {}", loop);
}

// ONNX wants nodes sorted; models that are not are sorted here, keeping the order where possible.
std::vector<int> Scope::order(const Nodes& nodes) {
  const auto count = static_cast<size_t>(nodes.size());
  std::unordered_map<std::string_view, int> producer;
  for (int i = 0; i < nodes.size(); ++i)
    for (const auto& name : nodes[i].output()) {
      if (name.empty()) continue;
      const auto [other, fresh] = producer.emplace(name, i);
      if (!fresh)
        fail(Code::bad_input, "value {} is produced by two nodes, {} and {}", shown(name),
             shown(label(nodes[other->second], other->second)), shown(label(nodes[i], i)));
      if (values_.contains(name))
        fail(Code::bad_input, "value {} is produced by node {} and is an input or initializer too", shown(name),
             shown(label(nodes[i], i)));
    }
  std::vector<std::vector<int>> before(count), after(count);
  std::vector<int> waiting(count, 0), out;
  std::set<int> ready;
  for (int i = 0; i < nodes.size(); ++i) {
    for (const std::string* name : names_read(nodes[i])) {
      const auto found = producer.find(*name);
      if (found == producer.end()) {
        if (!visible(*name))
          fail(Code::bad_input, "node {} ({}) reads {}, which nothing defines", shown(label(nodes[i], i)),
               printable(nodes[i].op_type()), shown(*name));
        continue;
      }
      used_.insert(found->first);
      before[static_cast<size_t>(i)].push_back(found->second);
      after[static_cast<size_t>(found->second)].push_back(i);
      ++waiting[static_cast<size_t>(i)];
    }
    if (waiting[static_cast<size_t>(i)] == 0) ready.insert(i);
  }
  while (!ready.empty()) {
    const int i = *ready.begin();
    ready.erase(ready.begin());
    out.push_back(i);
    for (int next : after[static_cast<size_t>(i)])
      if (--waiting[static_cast<size_t>(next)] == 0) ready.insert(next);
  }
  if (out.size() != count) fail_cycle(nodes, before, waiting);
  return out;
}

void Scope::add_nodes(Nodes& nodes, const std::vector<std::string_view>& results) {
  const std::vector<int> sorted = order(nodes);
  used_.insert(results.begin(), results.end());
  for (int i : sorted) add_node(*nodes.Mutable(i), i);
}

// ---------------------------------------------------------------- nodes

// Inside functions an attribute may name one of the call.
const onnx::AttributeProto* Scope::resolve(const onnx::AttributeProto& attribute) const {
  if (attribute.ref_attr_name().empty()) return &attribute;
  require(function_, Code::bad_input, "attribute {} refers to an attribute of a function, outside of one", shown(attribute.name()));
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
      case onnx::AttributeProto::INT: out.set(name, a->i()); break;
      case onnx::AttributeProto::FLOAT: out.set(name, widen(a->f())); break;
      case onnx::AttributeProto::STRING: out.set(name, a->s()); break;
      case onnx::AttributeProto::INTS: out.set(name, std::vector<int64_t>(a->ints().begin(), a->ints().end())); break;
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
        fail(Code::unsupported, "attribute {} is a graph, which is supported in If and Loop only", shown(name));
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
    if (!id) out += "-";
    else if (untyped(*id)) out += "?";
    else out += name_of(graph_.value(*id).dtype) + to_string(graph_.value(*id).shape);
  }
  return out;
}

std::string why_unknown(const std::string& domain, const std::string& op) {
  if (!domain.empty()) return "ops of this domain are not known";
  if (onnx_op_since(op) > 0) return "this version does not support the op";
  const std::string near = nearest_onnx_op(op);
  return near.empty() ? "ONNX has no such op" : "ONNX has no such op; did you mean '" + near + "'?";
}
bool can_be_known(const std::string& domain, const std::string& op) {
  return find_op(domain, op) != nullptr || has_upgrade(domain, op);
}

void Scope::add_node(onnx::NodeProto& node, int index) {
  const std::string plain = label(node, index);
  const std::string name = prefix_.empty() ? plain : prefix_ + "/" + plain;
  const std::string domain = canonical_domain(node.domain());
  const auto context = fmt::format("node {} ({})", shown(name), printable(node.op_type()));
  with_context(context, [&] {
    require(!node.op_type().empty(), Code::bad_input, "it names no op");
    if (const auto function = model_.functions.find(domain + ":" + node.op_type() + ":" + node.overload());
        function != model_.functions.end())
      return expand(node, name, *function->second);
    const auto imported = opsets_.find(domain);
    require(imported != opsets_.end(), Code::bad_input, "its domain {} is not among the model's opset imports", shown(domain));
    const int64_t opset = imported->second;
    if (domain.empty() && node.op_type() == "Constant") return add_constant_node(node);
    try {
      bool known_inputs = true;
      for (ValueId in : inputs_of(node)) known_inputs &= !in.valid() || !untyped(in);
      if (!known_inputs) return add_unsupported(node, name, opset, can_be_known(domain, node.op_type()) ? "" : why_unknown(domain, node.op_type()));
      if (domain.empty() && node.op_type() == "If") return add_if(node, name);
      if (domain.empty() && node.op_type() == "Loop") return add_loop(node, name);
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
  for (const auto& output : node.output()) lift.outputs_used.push_back(!output.empty() && used_.contains(output));
  if (const int since = onnx_op_since(lift.op); lift.domain.empty() && since > opset)
    graph_.warnings.push_back(fmt::format("node {} ({}): the op exists since opset {}, the model says it is written for {}",
                                          shown(name), lift.op, since, opset));
  upgrade(lift, opset);
  for (std::string& warning : lift.warnings)
    graph_.warnings.push_back(fmt::format("node {} ({}): {}", shown(name), node.op_type(), warning));

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
      define(output, other->second, "value");
    } else if (position < count) {
      made.outputs.push_back(output.empty() ? kNoValue : graph_.add_value(ir_name(output), DType::f32, {}));
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
    throw Error(error.code, std::string(what.starts_with(prefix) ? what.substr(prefix.size()) : what));
  }
  for (size_t i = 0; i < outputs.size(); ++i)
    if (outputs[i].valid()) define(node.output(static_cast<int>(i)), outputs[i], "value");
}

void Scope::add_unsupported(const onnx::NodeProto& node, const std::string& name, int64_t opset, const std::string& reason) {
  if (!reason.empty()) model_.unsupported.push_back({name, node.op_type(), canonical_domain(node.domain()), opset, input_types(node), reason});
  ir::Node made;
  made.name = name;
  made.op = &placeholder_op(canonical_domain(node.domain()), node.op_type());
  for (const auto& input : node.input()) made.inputs.push_back(input.empty() ? kNoValue : *lookup(input));
  made.sources = {name};
  for (const auto& output : node.output()) {
    if (output.empty() || values_.contains(output)) {
      made.outputs.push_back(kNoValue);
      continue;
    }
    const ValueId id = graph_.add_value(ir_name(output), DType::f32, {});
    const auto declared = declared_.find(output);
    if (declared != declared_.end() && declared->second.dtype) graph_.value(id).dtype = *declared->second.dtype;
    const auto& dims = declared != declared_.end() ? declared->second.dims : std::nullopt;
    const bool fixed = dims && std::all_of(dims->begin(), dims->end(), [](int64_t d) { return d >= 0; });
    if (fixed) graph_.value(id).shape = to_shape(*dims);
    else untyped_->insert(id);
    define(output, id, "value");
    made.outputs.push_back(id);
  }
  while (!made.outputs.empty() && !made.outputs.back().valid()) made.outputs.pop_back();
  graph_.add_raw_node(std::move(made));
}

void Scope::add_constant_node(onnx::NodeProto& node) {
  require(node.output_size() == 1 && !node.output(0).empty(), Code::bad_input, "a Constant has one output");
  require(node.attribute_size() == 1, Code::bad_input, "a Constant has one attribute, found {}", node.attribute_size());
  const onnx::AttributeProto* a = resolve(node.attribute(0));
  require(a != nullptr, Code::bad_input, "the call lacks the attribute {}", shown(node.attribute(0).ref_attr_name()));
  const std::string kind = node.attribute(0).name();
  onnx::AttributeProto copy;  // of an attribute of the call, which others may read too
  if (a != &node.attribute(0)) copy = *a;
  onnx::AttributeProto& own = a == &node.attribute(0) ? *node.mutable_attribute(0) : copy;
  Tensor value;
  if (kind == "value") {
    require(a->has_t(), Code::bad_input, "attribute 'value' is no tensor");
    value = model_.tensors.read(*own.mutable_t());
  } else if (kind == "sparse_value") {
    require(a->has_sparse_tensor(), Code::bad_input, "attribute 'sparse_value' is no sparse tensor");
    value = model_.tensors.read_sparse(*own.mutable_sparse_tensor());
  } else if (kind == "value_float") {
    value = Tensor::scalar<float>(a->f());
  } else if (kind == "value_floats") {
    value = Tensor::of<float>({a->floats_size()}, std::vector<float>(a->floats().begin(), a->floats().end()));
  } else if (kind == "value_int") {
    value = Tensor::scalar<int64_t>(a->i());
  } else if (kind == "value_ints") {
    value = Tensor::of<int64_t>({a->ints_size()}, std::vector<int64_t>(a->ints().begin(), a->ints().end()));
  } else {
    fail(kind == "value_string" || kind == "value_strings" ? Code::unsupported : Code::bad_input,
         "a Constant given by attribute {} is not supported", shown(kind));
  }
  define(node.output(0), graph_.add_constant(ir_name(node.output(0)), std::move(value)), "value");
}

void Scope::expand(const onnx::NodeProto& node, const std::string& name, const onnx::FunctionProto& function) {
  require(std::find(model_.active.begin(), model_.active.end(), &function) == model_.active.end(), Code::bad_input,
          "the local function {} calls itself", shown(function.name()));
  require(model_.active.size() < kDeepestFunction, Code::bad_input, "local functions nest deeper than {}", kDeepestFunction);
  model_.expanded += function.node_size();
  model_.expanded_bytes += function.ByteSizeLong();
  require(model_.expanded <= kMostExpanded && model_.expanded_bytes <= kMostExpandedBytes, Code::bad_input,
          "local functions expand to more than {} nodes or {} MiB", kMostExpanded, kMostExpandedBytes >> 20);
  require(node.input_size() <= function.input_size() && node.output_size() <= function.output_size(), Code::bad_input,
          "the call has {} inputs and {} outputs, the local function {} and {}", node.input_size(), node.output_size(),
          function.input_size(), function.output_size());
  const Opsets opsets = function.opset_import_size() > 0 ? read_opsets(function.opset_import()) : opsets_;
  Scope inner(model_, graph_, opsets, nullptr, name);
  inner.function_ = true;
  inner.untyped_ = untyped_;
  std::unordered_set<std::string> absent;
  for (int i = 0; i < function.input_size(); ++i) {
    const std::string& formal = function.input(i);
    if (i >= node.input_size() || node.input(i).empty()) absent.insert(formal);
    else inner.define(formal, *lookup(node.input(i)), "function input");
  }
  for (const auto& attribute : function.attribute_proto()) inner.arguments_[attribute.name()] = &attribute;
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
    require(result.has_value(), Code::bad_input, "output {} of the local function is not defined", shown(function.output(i)));
    define(node.output(i), *result, "value");
  }
}

// ---------------------------------------------------------------- control flow

/// Builds the graph of a branch or loop and closes it: what it reads from outside become inputs.
class BodyBuilder {
 public:
  BodyBuilder(Scope& outer, onnx::GraphProto& proto, const std::string& name)
      : proto_(proto), graph_(std::make_unique<ir::Graph>()) {
    graph_->name = proto.name().empty() ? name : proto.name();
    graph_->symbols = outer.graph_.symbols;
    scope_ = std::make_unique<Scope>(outer.model_, *graph_, outer.opsets_, &outer, "");
    scope_->arguments_ = outer.arguments_;
    scope_->function_ = outer.function_;
  }
  void add_input(const std::string& name, DType dtype, Shape shape) {
    const ValueId id = graph_->add_value(name, dtype, std::move(shape));
    graph_->inputs.push_back(id);
    scope_->define(name, id, "body input");
  }
  void build() {
    scope_->add_initializers(proto_);
    scope_->declare(proto_);
    std::vector<std::string_view> results;
    for (const auto& info : proto_.output()) results.push_back(info.name());
    scope_->add_nodes(*proto_.mutable_node(), results);
    scope_->add_outputs(proto_);
  }
  ir::Graph& graph() { return *graph_; }
  const std::vector<std::pair<ValueId, ValueId>>& captures() const { return scope_->captures_; }
  /// The body with `outer` as its last inputs, in that order.
  std::unique_ptr<ir::Graph> close(const ir::Graph& parent, const std::vector<ValueId>& outer) {
    for (ValueId o : outer) {
      const auto found = std::find_if(captures().begin(), captures().end(), [&](const auto& c) { return c.first == o; });
      const ir::Value& value = parent.value(o);
      graph_->inputs.push_back(found != captures().end() ? found->second
                                                         : graph_->add_value(value.name, value.dtype, value.shape));
    }
    return std::move(graph_);
  }

 private:
  onnx::GraphProto& proto_;
  std::unique_ptr<ir::Graph> graph_;
  std::unique_ptr<Scope> scope_;
};

onnx::GraphProto& Scope::graph_attribute(onnx::NodeProto& node, const char* name) const {
  for (auto& attribute : *node.mutable_attribute())
    if (attribute.name() == name) {
      require(attribute.has_g(), Code::bad_input, "attribute '{}' is no graph", name);
      return *attribute.mutable_g();
    }
  fail(Code::bad_input, "attribute '{}' is missing", name);
}

void merge_symbols(ir::Graph& into, const ir::Graph& from) {
  for (const auto& [symbol, info] : from.symbols) into.symbols.try_emplace(symbol, info);
}

void Scope::add_if(onnx::NodeProto& node, const std::string& name) {
  const OpDef* def = find_op("", "If");
  require(def != nullptr, Code::unsupported, "{}", why_unknown("", "If"));
  require(node.input_size() == 1 && !node.input(0).empty(), Code::bad_input, "an If has one input");
  ir::Node made;
  made.name = name;
  made.op = def;
  made.sources = {name};
  made.inputs = inputs_of(node);
  std::vector<BodyBuilder> bodies;
  bodies.reserve(2);
  const size_t unsupported_before = model_.unsupported.size();
  std::vector<ValueId> captured;
  for (const char* branch : {"then_branch", "else_branch"}) {
    with_context(branch, [&] {
      onnx::GraphProto& proto = graph_attribute(node, branch);
      require(proto.input_size() == 0, Code::bad_input, "a branch of If has no inputs, found {}", proto.input_size());
      require(proto.output_size() == node.output_size(), Code::bad_input, "it has {} outputs, the node {}",
              proto.output_size(), node.output_size());
      bodies.emplace_back(*this, proto, branch).build();
    });
    merge_symbols(graph_, bodies.back().graph());
    for (const auto& [outer, inner] : bodies.back().captures())
      if (std::find(captured.begin(), captured.end(), outer) == captured.end()) captured.push_back(outer);
  }
  if (model_.unsupported.size() > unsupported_before) return add_unsupported(node, name, 0, "");
  made.inputs.insert(made.inputs.end(), captured.begin(), captured.end());
  for (BodyBuilder& body : bodies) made.bodies.push_back(body.close(graph_, captured));
  finish_control_flow(node, std::move(made));
}

void Scope::add_loop(onnx::NodeProto& node, const std::string& name) {
  const OpDef* def = find_op("", "Loop");
  require(def != nullptr, Code::unsupported, "{}", why_unknown("", "Loop"));
  onnx::GraphProto& proto = graph_attribute(node, "body");
  const int carried = std::max(0, node.input_size() - 2);
  require(proto.input_size() == 2 + carried, Code::bad_input, "the body has {} inputs, expected {}", proto.input_size(), 2 + carried);
  require(proto.output_size() == node.output_size() + 1 && node.output_size() >= carried, Code::bad_input,
          "the body has {} outputs and the node {}, with {} carried values", proto.output_size(), node.output_size(), carried);
  ir::Node made;
  made.name = name;
  made.op = def;
  made.sources = {name};
  made.attrs.set("carried", int64_t{carried});
  for (const auto& input : node.input()) made.inputs.push_back(input.empty() ? kNoValue : *lookup(input));
  made.inputs.resize(static_cast<size_t>(2 + carried));
  BodyBuilder body(*this, proto, "body");
  const size_t unsupported_before = model_.unsupported.size();
  with_context("body", [&] {
    body.add_input(proto.input(0).name(), DType::i64, {});
    body.add_input(proto.input(1).name(), DType::boolean, {});
    for (int i = 0; i < carried; ++i) {
      const ValueId initial = made.inputs[static_cast<size_t>(2 + i)];
      require(initial.valid(), Code::bad_input, "carried value {} has no initial value", i);
      body.add_input(proto.input(2 + i).name(), graph_.value(initial).dtype, graph_.value(initial).shape);
    }
    body.build();
  });
  if (model_.unsupported.size() > unsupported_before) return add_unsupported(node, name, 0, "");
  merge_symbols(graph_, body.graph());
  std::vector<ValueId> captured;
  for (const auto& [outer, inner] : body.captures()) captured.push_back(outer);
  made.inputs.insert(made.inputs.end(), captured.begin(), captured.end());
  made.bodies.push_back(body.close(graph_, captured));
  finish_control_flow(node, std::move(made));
}

void Scope::finish_control_flow(const onnx::NodeProto& node, ir::Node made) {
  for (const auto& output : node.output())
    made.outputs.push_back(output.empty() ? kNoValue : graph_.add_value(ir_name(output), DType::f32, {}));
  const std::vector<ValueId> outputs = made.outputs;
  const ir::NodeId id = graph_.add_raw_node(std::move(made));
  graph_.infer(id);
  for (size_t i = 0; i < outputs.size(); ++i)
    if (outputs[i].valid()) define(node.output(static_cast<int>(i)), outputs[i], "value");
}

// ---------------------------------------------------------------- results

void Scope::add_outputs(const onnx::GraphProto& proto) {
  std::set<std::string> names;
  for (const auto& info : proto.output()) {
    require(!info.name().empty(), Code::bad_input, "an output has no name");
    require(names.insert(info.name()).second, Code::bad_input, "output {} is listed twice", shown(info.name()));
    const auto id = lookup(info.name());
    require(id.has_value(), Code::bad_input, "output {} is produced by no node", shown(info.name()));
    ValueId result = *id;
    // A function may hand an input through: then the output's name needs a value of its own.
    const bool named_so = graph_.value(result).name == info.name();
    const bool taken = std::find(graph_.outputs.begin(), graph_.outputs.end(), result) != graph_.outputs.end();
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
      if (const auto other = graph_.find_value(info.name())) std::swap(graph_.value(*other).name, graph_.value(result).name);
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
      text = fmt::format("declared {}, inferred {}", name_of(*declared->dtype), name_of(value.dtype));
    if (declared->dims) {
      bool equal = declared->dims->size() == value.shape.size();
      for (size_t d = 0; equal && d < value.shape.size(); ++d)
        equal = (*declared->dims)[d] < 0 || !value.shape[d].is_constant() || value.shape[d].is((*declared->dims)[d]);
      if (!equal) {
        std::string dims;
        for (int64_t d : *declared->dims) dims += (dims.empty() ? "" : ",") + (d < 0 ? "?" : std::to_string(d));
        text += fmt::format("{}declared shape [{}], inferred {}", text.empty() ? "" : "; ", dims, to_string(value.shape));
      }
    }
    if (text.empty() || ++found > kMostWarnings) return;
    graph_.warnings.push_back(fmt::format("{} {}: {}; the inferred one holds", what, shown(info.name()), text));
  };
  for (const auto& info : proto.output()) compare(info, "output");
  for (const auto& info : proto.value_info()) compare(info, "value");
  if (found > kMostWarnings)
    graph_.warnings.push_back(fmt::format("{} more values are declared with other types or shapes than inferred", found - kMostWarnings));
}

void Scope::declare(const onnx::GraphProto& proto) {
  for (const auto* list : {&proto.value_info(), &proto.output()})
    for (const auto& info : *list)
      if (auto type = declared_type(info)) declared_[info.name()] = std::move(*type);
}
}  // namespace

std::string canonical_domain(const std::string& domain) { return domain == "ai.onnx" ? "" : domain; }

Opsets read_opsets(const google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>& imports) {
  Opsets out;
  for (const auto& import : imports) {
    const std::string domain = canonical_domain(import.domain());
    require(out.emplace(domain, import.version()).second, Code::bad_input, "the opset of domain {} is imported twice",
            shown(domain.empty() ? "ai.onnx" : domain));
    require(!domain.empty() || (import.version() >= kOldestOpset && import.version() <= kNewestOpset), Code::unsupported,
            "the model is written for ONNX opset {}; opsets {} to {} are supported", import.version(), kOldestOpset, kNewestOpset);
  }
  return out;
}

Model::Model(onnx::ModelProto& proto, const std::string& folder, const ImportOptions& options)
    : proto(proto), options(options), tensors(folder), opsets(read_opsets(proto.opset_import())) {
  for (const auto& function : proto.functions()) {
    const std::string key = canonical_domain(function.domain()) + ":" + function.name() + ":" + function.overload();
    require(functions.emplace(key, &function).second, Code::bad_input, "the local function {} is defined twice", shown(function.name()));
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
