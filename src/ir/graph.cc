// SPDX-License-Identifier: Apache-2.0
#include "ir/graph.h"

#include <algorithm>
#include <set>
#include <unordered_set>

#include "ir/control_flow.h"
#include "ops/rules.h"

namespace vitrail::ir {
namespace {
std::string unique_name(std::map<std::string, uint32_t, std::less<>>& used,
                        const std::string& wanted) {
  if (!used.contains(wanted)) return wanted;
  // The stored number is where the search for a free suffix goes on, so that a million nodes of
  // one name stay linear.
  uint32_t& next = used[wanted];
  for (;;) {
    std::string name = wanted + "." + std::to_string(++next);
    if (!used.contains(name)) return name;
  }
}
}  // namespace

Graph Graph::clone() const {
  Graph out;
  out.name = name;
  out.inputs = inputs;
  out.outputs = outputs;
  out.symbols = symbols;
  out.guards = guards;
  out.metadata = metadata;
  out.warnings = warnings;
  out.values_ = values_;
  out.value_names_ = value_names_;
  out.node_names_ = node_names_;
  out.nodes_.reserve(nodes_.size());
  for (const Node& node : nodes_) {
    Node copy;
    copy.name = node.name;
    copy.op = node.op;
    copy.family = node.family;
    copy.attrs = node.attrs;
    copy.inputs = node.inputs;
    copy.outputs = node.outputs;
    copy.sources = node.sources;
    copy.alive = node.alive;
    for (const auto& body : node.bodies)
      copy.bodies.push_back(std::make_unique<Graph>(body->clone()));
    out.nodes_.push_back(std::move(copy));
  }
  return out;
}

std::string Graph::unique_value_name(std::string wanted) const {
  return unique_name(value_names_, wanted.empty() ? "v" : wanted);
}
std::string Graph::unique_node_name(std::string wanted) const {
  return unique_name(node_names_, wanted.empty() ? "n" : wanted);
}

ValueId Graph::add_value(std::string wanted, DType dtype, Shape shape) {
  Value value;
  value.name = unique_value_name(std::move(wanted));
  value.dtype = dtype;
  value.shape = std::move(shape);
  value_names_[value.name] = 0;
  values_.push_back(std::move(value));
  return {static_cast<uint32_t>(values_.size() - 1)};
}
ValueId Graph::add_input(std::string wanted, DType dtype, Shape shape) {
  for (const Expr& d : shape) {
    std::set<std::string> names;
    d.collect_symbols(names);
    for (const std::string& symbol : names)
      if (!symbols.contains(symbol))
        symbols[symbol] = {SymbolKind::input, {1, Interval::kUnbounded}, 0};
  }
  const ValueId id = add_value(std::move(wanted), dtype, std::move(shape));
  inputs.push_back(id);
  return id;
}
ValueId Graph::add_constant(std::string wanted, Tensor tensor) {
  const ValueId id = add_value(std::move(wanted), tensor.dtype(), to_shape(tensor.dims()));
  values_[id.index].constant = std::move(tensor);
  return id;
}

NodeId Graph::add_raw_node(Node node) {
  node.name = unique_node_name(node.name.empty() ? node.type() : node.name);
  node_names_[node.name] = 0;
  while (!node.inputs.empty() && !node.inputs.back().valid()) node.inputs.pop_back();
  const NodeId id{static_cast<uint32_t>(nodes_.size())};
  for (ValueId out : node.outputs)
    if (out.valid()) value(out).producer = id;
  nodes_.push_back(std::move(node));
  return id;
}

NodeId Graph::add_node(const OpDef& op, std::vector<ValueId> read, Attrs attrs, std::string wanted,
                       int count) {
  Node node;
  node.op = &op;
  node.name = unique_node_name(wanted.empty() ? op.name : wanted);
  node.attrs = std::move(attrs);
  node.inputs = std::move(read);
  for (int i = 0; i < count; ++i)
    node.outputs.push_back(
        add_value(i == 0 ? node.name : node.name + "." + std::to_string(i), DType::f32, {}));
  const NodeId id = add_raw_node(std::move(node));
  infer(id);
  return id;
}

ValueId Graph::op(std::string_view op_name, std::vector<ValueId> read, Attrs attrs,
                  std::string wanted) {
  const OpDef* def = find_op("", op_name);
  require(def != nullptr, Code::internal, "no op '{}'", op_name);
  return node(add_node(*def, std::move(read), std::move(attrs), std::move(wanted))).outputs[0];
}

size_t Graph::node_count() const {
  return static_cast<size_t>(
      std::count_if(nodes_.begin(), nodes_.end(), [](const Node& n) { return n.alive; }));
}

std::vector<NodeId> Graph::topological_order() const {
  // Kahn's algorithm over an index heap: among the ready nodes the one made first comes first, so
  // that the order is stable and close to the model's own.
  std::vector<uint32_t> waiting(nodes_.size(), 0);
  std::vector<std::vector<uint32_t>> next(nodes_.size());
  std::set<uint32_t> ready;
  size_t living = 0;
  for (uint32_t i = 0; i < nodes_.size(); ++i) {
    if (!nodes_[i].alive) continue;
    ++living;
    for (ValueId in : nodes_[i].inputs) {
      if (!in.valid()) continue;
      const NodeId producer = value(in).producer;
      if (!producer.valid() || !nodes_[producer.index].alive) continue;
      next[producer.index].push_back(i);
      ++waiting[i];
    }
    if (waiting[i] == 0) ready.insert(i);
  }
  std::vector<NodeId> order;
  order.reserve(living);
  while (!ready.empty()) {
    const uint32_t i = *ready.begin();
    ready.erase(ready.begin());
    order.push_back({i});
    for (uint32_t n : next[i])
      if (--waiting[n] == 0) ready.insert(n);
  }
  if (order.size() == living) return order;
  // A node that waits has an input whose producer waits; following those must close a loop.
  uint32_t at = 0;
  while (!nodes_[at].alive || waiting[at] == 0) ++at;
  std::vector<uint32_t> path;
  std::set<uint32_t> seen;
  while (seen.insert(at).second) {
    path.push_back(at);
    for (ValueId in : nodes_[at].inputs) {
      const NodeId p = in.valid() ? value(in).producer : NodeId{};
      if (p.valid() && nodes_[p.index].alive && waiting[p.index] > 0) {
        at = p.index;
        break;
      }
    }
  }
  std::string loop = "'" + printable(nodes_[at].name) + "'";
  size_t shown = 0;
  for (size_t i = path.size(); i-- > 0 && shown < 12; ++shown) {
    loop += " -> '" + printable(nodes_[path[i]].name) + "'";
    if (path[i] == at) break;
  }
  fail(Code::bad_input, "the graph has a cycle: {}", loop);
}

std::vector<std::vector<NodeId>> Graph::users() const {
  std::vector<std::vector<NodeId>> out(values_.size());
  for (uint32_t i = 0; i < nodes_.size(); ++i)
    if (nodes_[i].alive)
      for (ValueId in : nodes_[i].inputs)
        if (in.valid()) out[in.index].push_back({i});
  return out;
}

std::optional<ValueId> Graph::find_value(std::string_view wanted) const {
  if (!value_names_.contains(wanted)) return {};
  for (uint32_t i = 0; i < values_.size(); ++i)
    if (values_[i].name == wanted) return ValueId{i};
  return {};
}
const Node* Graph::producer(ValueId id) const {
  const NodeId p = value(id).producer;
  return p.valid() && nodes_[p.index].alive ? &nodes_[p.index] : nullptr;
}
bool Graph::is_output(ValueId id) const {
  return std::find(outputs.begin(), outputs.end(), id) != outputs.end();
}

namespace {
ValueInfo info_of(const Value& value) {
  ValueInfo info{value.dtype, value.shape, nullptr, value.content};
  if (value.is_constant()) info.constant = &value.constant;
  return info;
}
}  // namespace

std::optional<std::vector<Expr>> Graph::ints(ValueId id) const { return info_of(value(id)).ints(); }

Ranges Graph::symbol_ranges() const {
  Ranges out;
  for (const auto& [symbol, info] : symbols) {
    out[symbol] = info.range;
    if (info.kind == SymbolKind::data) out[symbol] = {0, info.bound.bounds(out).high};
  }
  return out;
}

void Graph::replace_uses(ValueId from, ValueId to) {
  if (from == to) return;
  for (Node& node : nodes_)
    if (node.alive) std::replace(node.inputs.begin(), node.inputs.end(), from, to);
  if (!is_output(from)) return;
  // A model's outputs keep their names: swap them where the new value is not an output or input.
  const bool to_is_free = !is_output(to) &&
                          std::find(inputs.begin(), inputs.end(), to) == inputs.end() &&
                          !value(to).is_constant();
  std::replace(outputs.begin(), outputs.end(), from, to);
  if (to_is_free) std::swap(value(from).name, value(to).name);
}

void Graph::remove_node(NodeId id) {
  Node& dead = node(id);
  dead.alive = false;
  dead.bodies.clear();
  node_names_.erase(dead.name);
}

std::string Graph::rename_value(ValueId id, const std::string& wanted) {
  value_names_.erase(value(id).name);
  value(id).name = unique_value_name(wanted);
  value_names_[value(id).name] = 0;
  return value(id).name;
}

void Graph::retire_value(ValueId id) {
  value_names_.erase(value(id).name);
  value(id).name.clear();
}

size_t Graph::remove_dead() {
  std::vector<bool> needed(values_.size(), false);
  std::vector<ValueId> work = outputs;
  std::vector<bool> keep(nodes_.size(), false);
  while (!work.empty()) {
    const ValueId v = work.back();
    work.pop_back();
    if (!v.valid() || needed[v.index]) continue;
    needed[v.index] = true;
    const NodeId p = value(v).producer;
    if (!p.valid() || !nodes_[p.index].alive || keep[p.index]) continue;
    keep[p.index] = true;
    for (ValueId in : nodes_[p.index].inputs) work.push_back(in);
  }
  size_t removed = 0;
  for (uint32_t i = 0; i < nodes_.size(); ++i)
    if (nodes_[i].alive && !keep[i]) {
      remove_node({i});
      ++removed;
    }
  // An output that nothing reads stays with its node.
  for (uint32_t i = 0; i < values_.size(); ++i)
    if (!needed[i] && !values_[i].name.empty() &&
        (values_[i].is_constant() ||
         (values_[i].producer.valid() && !keep[values_[i].producer.index]))) {
      values_[i].constant = Tensor();
      retire_value({i});
    }
  return removed;
}

void Graph::compact() {
  std::vector<uint32_t> value_map(values_.size(), UINT32_MAX), node_map(nodes_.size(), UINT32_MAX);
  std::vector<bool> used(values_.size(), false);
  for (ValueId v : inputs) used[v.index] = true;
  for (ValueId v : outputs) used[v.index] = true;
  for (const Node& node : nodes_) {
    if (!node.alive) continue;
    for (ValueId v : node.inputs)
      if (v.valid()) used[v.index] = true;
    for (ValueId v : node.outputs)
      if (v.valid()) used[v.index] = true;
  }
  std::vector<NodeId> order = topological_order();
  std::vector<Value> values;
  std::vector<Node> nodes;
  for (uint32_t i = 0; i < values_.size(); ++i)
    if (used[i]) {
      value_map[i] = static_cast<uint32_t>(values.size());
      values.push_back(std::move(values_[i]));
    }
  for (NodeId id : order) {
    node_map[id.index] = static_cast<uint32_t>(nodes.size());
    nodes.push_back(std::move(nodes_[id.index]));
  }
  const auto move_value = [&](ValueId& v) {
    if (v.valid()) v.index = value_map[v.index];
  };
  for (Node& node : nodes) {
    for (ValueId& v : node.inputs) move_value(v);
    for (ValueId& v : node.outputs) move_value(v);
  }
  for (ValueId& v : inputs) move_value(v);
  for (ValueId& v : outputs) move_value(v);
  for (Value& value : values)
    if (value.producer.valid()) value.producer.index = node_map[value.producer.index];
  values_ = std::move(values);
  nodes_ = std::move(nodes);
  value_names_.clear();
  node_names_.clear();
  for (const Value& value : values_) value_names_[value.name] = 0;
  for (const Node& node : nodes_) node_names_[node.name] = 0;
}

Expr Graph::new_data_symbol(const std::string& hint, const Expr& bound) {
  std::string symbol = hint;
  for (int i = 1; symbols.contains(symbol); ++i) symbol = hint + "_" + std::to_string(i);
  symbols[symbol] = {SymbolKind::data, {0, bound.bounds(symbol_ranges()).high}, bound};
  return Expr::symbol(symbol);
}

void Graph::infer(NodeId id) {
  Node& n = node(id);
  if (!n.op) return;  // a fusion's outputs keep what its members had
  with_context(fmt::format("node '{}' ({})", printable(n.name), n.type()), [&] {
    const OpDef& op = *n.op;
    const auto arity = [&](size_t count, int least, int most, const char* what) {
      require(static_cast<int>(count) >= least && static_cast<int>(count) <= most, Code::bad_input,
              "{} {} given, expected {} to {}", count, what, least,
              most >= kMany ? "any number" : std::to_string(most));
    };
    arity(n.inputs.size(), op.min_inputs, op.max_inputs, "inputs");
    arity(n.outputs.size(), op.min_outputs, op.max_outputs, "outputs");
    for (const AttrSpec& spec : op.attrs) {
      const auto found = n.attrs.all().find(spec.name);
      require(found != n.attrs.all().end() || !spec.required, Code::bad_input,
              "attribute '{}' is missing", spec.name);
      require(
          found == n.attrs.all().end() || found->second.index() == static_cast<size_t>(spec.kind),
          Code::bad_input, "attribute '{}' has the wrong type", spec.name);
    }
    InferContext ctx{n.attrs, {}, std::vector<ValueInfo>(n.outputs.size()), n.name, {}, {}, {}};
    std::vector<ValueInfo> infos;
    infos.reserve(n.inputs.size());
    for (size_t i = 0; i < n.inputs.size(); ++i) {
      const ValueId in = n.inputs[i];
      require(in.valid() || static_cast<int>(i) >= op.min_inputs || op.min_inputs == 0 ||
                  op.max_inputs == kMany,
              Code::bad_input, "input {} is required", i);
      if (in.valid()) infos.push_back(info_of(value(in)));
      ctx.inputs.push_back(in.valid() ? &infos.back() : nullptr);
    }
    for (ValueInfo& out : ctx.outputs)
      if (ctx.has(0)) out.dtype = ctx.in(0).dtype;
    const auto cleaned = [](std::string text) {
      for (char& c : text)
        if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '.') c = '_';
      return text;
    };
    // The same node inferred again keeps its symbols: passes infer after every edit.
    const std::string prefix = cleaned(n.name + ".");
    std::vector<Expr> earlier;
    for (ValueId out : n.outputs)
      if (out.valid())
        for (const Expr& d : value(out).shape) {
          std::set<std::string> names;
          d.collect_symbols(names);
          for (const std::string& symbol : names)
            if (symbols.contains(symbol) && symbols[symbol].kind == SymbolKind::data &&
                symbol.rfind(prefix, 0) == 0 &&
                std::find(earlier.begin(), earlier.end(), Expr::symbol(symbol)) == earlier.end())
              earlier.push_back(Expr::symbol(symbol));
        }
    size_t reused = 0;
    ctx.data_symbol = [&](const std::string& hint, const Expr& bound) {
      if (reused < earlier.size()) return earlier[reused++];
      return new_data_symbol(cleaned(n.name + "." + hint), bound);
    };
    ctx.ranges = symbol_ranges();
    if (n.bodies.empty())
      op.infer(ctx);
    else
      infer_control_flow(*this, n, ctx);
    for (size_t i = 0; i < n.outputs.size(); ++i) {
      if (!n.outputs[i].valid()) continue;
      Value& out = value(n.outputs[i]);
      out.dtype = ctx.outputs[i].dtype;
      out.shape = std::move(ctx.outputs[i].shape);
      out.content = std::move(ctx.outputs[i].content);
    }
    // The axes that Squeeze removes are decided here, once: where a symbol happens to be 1 at run
    // time, its axis must stay (CvT's legacy exports end so).
    if (n.is("Squeeze") && n.inputs.size() == 1 && !is_static(value(n.inputs[0]).shape)) {
      const auto axes = squeezed_axes(value(n.inputs[0]).shape);
      n.inputs.push_back(add_constant(
          n.name + ".axes", Tensor::of<int64_t>({static_cast<int64_t>(axes.size())}, axes)));
    }
    for (Equality& e : ctx.equalities) {
      const bool known = std::any_of(guards.begin(), guards.end(),
                                     [&](const Equality& g) { return g.a == e.a && g.b == e.b; });
      if (!known) guards.push_back(std::move(e));
    }
    for (std::string& w : ctx.warnings) {
      std::string text = fmt::format("node '{}' ({}): {}", printable(n.name), n.type(), w);
      if (std::find(warnings.begin(), warnings.end(), text) == warnings.end())
        warnings.push_back(std::move(text));
    }
  });
}

void Graph::infer_all() {
  for (NodeId id : topological_order()) {
    if (node(id).is_fusion())
      for (auto& body : node(id).bodies) body->infer_all();
    infer(id);
  }
}

void substitute(Graph& graph, const std::map<std::string, Expr, std::less<>>& values) {
  if (values.empty()) return;
  for (uint32_t i = 0; i < graph.value_count(); ++i) {
    Value& value = graph.value({i});
    for (Expr& d : value.shape) d = d.substitute(values);
    if (value.content)
      for (Expr& e : *value.content) e = e.substitute(values);
  }
  std::vector<Equality> kept;
  for (const Equality& guard : graph.guards) {
    const Equality now{guard.a.substitute(values), guard.b.substitute(values)};
    require(!now.a.is_constant() || !now.b.is_constant() || now.a == now.b, Code::bad_input,
            "extents {} and {} must be equal, at the given shapes they are {} and {}",
            guard.a.str(), guard.b.str(), now.a.str(), now.b.str());
    if (!(now.a == now.b)) kept.push_back(now);
  }
  graph.guards = std::move(kept);
  for (const auto& [name, value] : values) graph.symbols.erase(name);
  for (auto& [name, symbol] : graph.symbols) symbol.bound = symbol.bound.substitute(values);
  for (NodeId id : graph.topological_order())
    for (auto& body : graph.node(id).bodies) substitute(*body, values);
}

}  // namespace vitrail::ir
