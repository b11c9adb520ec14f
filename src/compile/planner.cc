// SPDX-License-Identifier: Apache-2.0
// Where every value of a graph lies, and the steps that fill it.
#include "compile/planner.h"

#include <algorithm>

namespace vitrail {

Planner::Planner(ir::Graph& graph, const Bindings& opt, const AxisOrders& orders,
                 std::vector<Refused>& refused, Layout& layout, bool gpu)
    : graph_(graph),
      opt_(opt),
      orders_(orders),
      refused_(refused),
      layout_(layout),
      buffers_(layout.buffers),
      order_(graph.topological_order()),
      users_(graph.users()),
      storage_(graph.value_count()),
      gpu_(gpu) {}

std::vector<LaidStep> Planner::run() {
  lower_fusions();
  if (!refused_.empty()) return {};
  for (size_t i = 0; i < graph_.inputs.size(); ++i) {
    const ir::Value& value = graph_.value(graph_.inputs[i]);
    place(graph_.inputs[i], {add_buffer(LaidBuffer::Kind::input, value, static_cast<int>(i)), 0,
                             row_major(value.shape)});
  }
  place_and_visit();
  for (size_t i = 0; i < graph_.outputs.size(); ++i) finish_output(i);
  return std::move(steps_);
}

void Planner::lower_fusions() {
  for (ir::NodeId id : order_) {
    if (!graph_.node(id).is_fusion()) continue;
    std::string why;
    auto lowered = lower(graph_, graph_.node(id), &why);
    if (lowered)
      lowered_.emplace(id, std::move(*lowered));
    else
      refused_.push_back({&graph_, id, why});
  }
}

void Planner::place_and_visit() {
  // Concats from the last to the first: a window of a window is known before its inputs.
  for (size_t i = order_.size(); i-- > 0;)
    if (graph_.node(order_[i]).is("Concat")) plan_concat(graph_.node(order_[i]));
  find_needed();
  for (ir::NodeId id : order_)
    if (needed_.contains(id)) visit(id);
}

// Nodes whose data a step or an output reads, and those that write the extents of such data. Views
// and lowered fusions need no shape inputs: those are known as expressions.
void Planner::find_needed() {
  std::set<ir::ValueId> values(graph_.outputs.begin(), graph_.outputs.end());
  std::set<ir::NodeId> writers;
  const auto written = ir::symbol_writers(graph_);
  const auto need_extents = [&](ir::ValueId v) {
    std::set<std::string> symbols;
    for (const Expr& d : graph_.value(v).shape) d.collect_symbols(symbols);
    for (const std::string& s : symbols)
      if (const auto writer = written.find(s); writer != written.end())
        writers.insert(writer->second.node);
  };
  for (ir::ValueId v : graph_.outputs) need_extents(v);
  for (size_t i = order_.size(); i-- > 0;) {
    const ir::Node& node = graph_.node(order_[i]);
    if (!writers.contains(order_[i]) &&
        std::none_of(node.outputs.begin(), node.outputs.end(),
                     [&](ir::ValueId v) { return values.contains(v); }))
      continue;
    needed_.insert(order_[i]);
    for (const auto* list : {&node.inputs, &node.outputs})
      for (ir::ValueId v : *list)
        if (v.valid()) need_extents(v);
    if (node.is_fusion()) {
      for (const LoweredOperand& in : lowered_.at(order_[i]).inputs)
        if (in.io >= 0) values.insert(node.inputs[static_cast<size_t>(in.io)]);
    } else if (ir::is_view(graph_, node)) {
      values.insert(node.inputs[0]);
    } else {
      values.insert(node.inputs.begin(), node.inputs.end());
    }
  }
}

// ------------------------------------------------------------------ buffers and storages
int Planner::add_buffer(LaidBuffer::Kind kind, const ir::Value& value, int io) {
  buffers_.push_back({kind, value.dtype, element_count(value.shape), value.constant, io});
  return static_cast<int>(buffers_.size()) - 1;
}

ir::Storage& Planner::of(ir::ValueId v) {
  ir::Storage& s = storage_[v.index];
  const ir::Value& value = graph_.value(v);
  if (s.buffer < 0 && value.is_constant())
    s = {add_buffer(LaidBuffer::Kind::constant, value), 0, row_major(value.shape)};
  return s;
}

ir::Storage Planner::fresh(ir::ValueId v, const ir::AxisOrder& order) {
  ir::Value padded = graph_.value(v);
  const Shape dense = ir::dense_strides(padded.shape, order);
  // On a GPU rows start at multiples of 16 bytes, 31 channels lie in 32, unless a reader, or the
  // model's output, can take dense rows only.
  constexpr int64_t kBytes = 16, kLeast = 8;
  const auto size = static_cast<int64_t>(size_of(padded.dtype));
  if (gpu_ && (size == 2 || size == 4) && order.size() >= 2) {
    Expr& row = padded.shape[static_cast<size_t>(order.back())];
    if (row.is_constant() && row.constant() > kLeast) {
      const Expr own = row;
      row = ceildiv(row, kBytes / size) * (kBytes / size);
      if (!(row == own) &&
          cost(v, {0, 0, ir::dense_strides(padded.shape, order)}) > cost(v, {0, 0, dense}))
        row = own;
    }
  }
  return {add_buffer(LaidBuffer::Kind::arena, padded), 0, ir::dense_strides(padded.shape, order)};
}

bool Planner::depends_on_data(const Expr& e) const {
  std::set<std::string> symbols;
  e.collect_symbols(symbols);
  return std::any_of(symbols.begin(), symbols.end(), [&](const std::string& s) {
    const auto found = graph_.symbols.find(s);
    return found != graph_.symbols.end() && found->second.kind == ir::SymbolKind::data;
  });
}
bool Planner::depends_on_data(const Shape& shape) const {
  return std::any_of(shape.begin(), shape.end(), [&](const Expr& e) { return depends_on_data(e); });
}

// ------------------------------------------------------------------ Concat
// The value at the top of a chain of invertible views, and the storage it needs.
std::pair<ir::ValueId, std::optional<ir::Storage>> Planner::owner_of(ir::ValueId v,
                                                                     ir::Storage wanted) {
  for (;;) {
    const ir::Node* producer = graph_.producer(v);
    if (!producer || !ir::is_view(graph_, *producer)) return {v, wanted};
    const auto up = ir::inverse_view(graph_, *producer, wanted);
    if (!up) return {v, std::nullopt};
    wanted = *up;
    v = producer->inputs[0];
  }
}

bool Planner::may_write(ir::ValueId v, const ir::Storage& s) {
  const ir::Node* producer = graph_.producer(v);
  if (!producer || storage_[v.index].buffer >= 0) return false;
  // An extent that the data of another input give may not be known yet when this one is written.
  if (depends_on_data(s.offset) || depends_on_data(s.strides)) return false;
  if (!producer->is_fusion())
    return true;  // Concat plans on; the other steps write through any strides
  const auto& outputs = lowered_.at(graph_.value(v).producer).outputs;
  for (const LoweredOperand& out : outputs)
    if (producer->outputs[static_cast<size_t>(out.io)] == v) return dense_enough(out, v, s);
  return false;
}

size_t Planner::concat_axis(const ir::Node& node) const {
  return static_cast<size_t>(
      normalize_axis(node.attrs.integer("axis"), graph_.value(node.outputs[0]).rank(), "axis"));
}

void Planner::plan_concat(const ir::Node& node) {
  const ir::ValueId out = node.outputs[0];
  if (storage_[out.index].buffer < 0)
    place(out, fresh(out, best_order(out, ir::natural_order(graph_.value(out).rank()), -1)));
  ir::Storage window = of(out);
  const size_t axis = concat_axis(node);
  std::set<ir::ValueId> claimed;
  for (ir::ValueId in : node.inputs) {
    const auto [owner, wanted] = owner_of(in, window);
    // An input that stands twice, or is read from elsewhere as a graph output, gets a copy.
    if (wanted && claimed.insert(owner).second && may_write(owner, *wanted)) place(owner, *wanted);
    window.offset += graph_.value(in).shape[axis] * window.strides[axis];
  }
}

// ------------------------------------------------------------------ steps
void Planner::emit_copy(ir::ValueId v, const ir::Storage& from, const ir::Storage& to) {
  const ir::Value& value = graph_.value(v);
  LaidStep step;
  step.graph = &graph_;
  step.name = "copy " + value.name;
  step.inputs = {from};
  step.outputs = {to};
  step.input_values = step.output_values = {v};
  Problem& problem = step.lowered.problem;
  problem.family = "copy";
  problem.inputs = {{value.dtype, value.shape, from.strides, false}};
  problem.outputs = {{value.dtype, value.shape, to.strides, false}};
  step.copied_bytes = bytes_of(v);
  steps_.push_back(std::move(step));
}

// v in memory of the wanted order; copies are made once.
ir::Storage Planner::in_order(ir::ValueId v, const ir::AxisOrder& order) {
  const auto key = std::make_pair(v.index, order);
  const auto found = copies_.find(key);
  if (found != copies_.end()) return found->second;
  ir::Storage to = fresh(v, order);
  emit_copy(v, of(v), to);
  copies_[key] = to;
  return to;
}

void Planner::visit(ir::NodeId id) {
  const ir::Node& node = graph_.node(id);
  if (node.is("If")) return visit_if(id, node);
  if (node.is("Loop")) return visit_loop(id, node);
  if (ir::is_view(graph_, node)) return visit_view(node);
  if (node.is("Concat")) return visit_concat(node);
  if (node.is_fusion()) return visit_fusion(id, node);
  visit_host(id, node);
}

void Planner::visit_view(const ir::Node& node) {
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    const ir::ValueId out = node.outputs[i];
    if (!out.valid() || (users_[out.index].empty() && !graph_.is_output(out))) continue;
    auto s = ir::view_storage(graph_, node, i, of(node.inputs[0]));
    if (!s) {  // the elements must move: row-major memory takes any Reshape
      const ir::Storage dense =
          in_order(node.inputs[0], ir::natural_order(graph_.value(node.inputs[0]).rank()));
      s = ir::view_storage(graph_, node, i, dense);
      require(s.has_value(), Code::internal, "'{}' is no view of dense memory", node.name);
    }
    place(out, *s);
  }
}

namespace {
// An extent of 1 has no stride to speak of.
bool equal_strides(const Shape& shape, const Shape& a, const Shape& b) {
  for (size_t i = 0; i < shape.size(); ++i)
    if (!shape[i].is(1) && !(a[i] == b[i])) return false;
  return true;
}
}  // namespace

void Planner::visit_concat(const ir::Node& node) {
  ir::Storage window = of(node.outputs[0]);
  const size_t axis = concat_axis(node);
  for (ir::ValueId in : node.inputs) {
    const ir::Storage& have = of(in);
    if (!(have.buffer == window.buffer && have.offset == window.offset &&
          equal_strides(graph_.value(in).shape, have.strides, window.strides)))
      emit_copy(in, have, window);
    window.offset += graph_.value(in).shape[axis] * window.strides[axis];
  }
}

namespace {
// Strides in the problem's axis order. Extents of 1 get the stride that lets them merge with
// the extent after them.
Shape strides_of(const LoweredOperand& operand, const ir::Storage& s) {
  Shape out(operand.axes.size());
  for (size_t i = operand.axes.size(); i-- > 0;) {
    const bool last = i + 1 == operand.axes.size();
    if (operand.dims[i].is(1))
      out[i] = last ? Expr(1) : out[i + 1] * operand.dims[i + 1];
    else if (operand.axes[i] < 0)
      out[i] = 0;
    else
      out[i] = s.strides[static_cast<size_t>(operand.axes[i])];
  }
  return out;
}
}  // namespace

void Planner::visit_fusion(ir::NodeId id, const ir::Node& node) {
  LaidStep step;
  step.graph = &graph_;
  step.node = id;
  step.name = node.name;
  step.lowered = lowered_.at(id);
  Lowered& lowered = step.lowered;
  for (size_t i = 0; i < lowered.inputs.size(); ++i) {
    const LoweredOperand& operand = lowered.inputs[i];
    if (operand.io < 0 || operand.packed) {
      step.inputs.emplace_back();
      step.input_values.push_back(operand.io < 0 ? ir::kNoValue
                                                 : node.inputs[static_cast<size_t>(operand.io)]);
      lowered.problem.inputs[i].strides = row_major(operand.dims);
      continue;
    }
    const ir::ValueId v = node.inputs[static_cast<size_t>(operand.io)];
    ir::Storage s = of(v);
    if (!dense_enough(operand, v, s)) {
      ir::AxisOrder order = ir::natural_order(graph_.value(v).rank());
      order.erase(order.begin() + operand.innermost);
      order.push_back(operand.innermost);
      s = in_order(v, order);
    } else if (const auto order = order_for_reader(operand, v, s, node)) {
      s = in_order(v, *order);
    }
    step.inputs.push_back(s);
    step.input_values.push_back(v);
    lowered.problem.inputs[i].strides = strides_of(operand, s);
  }
  for (size_t i = 0; i < lowered.outputs.size(); ++i) {
    const LoweredOperand& operand = lowered.outputs[i];
    const ir::ValueId v = node.outputs[static_cast<size_t>(operand.io)];
    if (storage_[v.index].buffer < 0) {
      ir::AxisOrder preferred = order_like(step, v);
      if (operand.innermost >= 0) {  // the problem's own order, less the extents the value lacks
        preferred = operand.axes;
        std::erase(preferred, -1);
      }
      place(v, fresh(v, best_order(v, std::move(preferred), operand.innermost)));
    }
    step.outputs.push_back(of(v));
    step.output_values.push_back(v);
    lowered.problem.outputs[i].strides = strides_of(operand, of(v));
  }
  steps_.push_back(std::move(step));
}

void Planner::visit_host(ir::NodeId id, const ir::Node& node) {
  LaidStep step;
  step.kind = LaidStep::Kind::host;
  step.graph = &graph_;
  step.node = id;
  step.name = node.name;
  for (ir::ValueId in : node.inputs) {
    step.inputs.push_back(in.valid() ? of(in) : ir::Storage{});
    step.input_values.push_back(in);
  }
  for (ir::ValueId out : node.outputs) {
    if (out.valid() && storage_[out.index].buffer < 0)
      place(out, fresh(out, ir::natural_order(graph_.value(out).rank())));
    step.outputs.push_back(out.valid() ? of(out) : ir::Storage{});
    step.output_values.push_back(out);
  }
  steps_.push_back(std::move(step));
}

// A model's output is dense row-major memory of its own.
void Planner::finish_output(size_t index) {
  const ir::ValueId v = graph_.outputs[index];
  const ir::Value& value = graph_.value(v);
  const ir::Storage s = of(v);
  LaidBuffer& buffer = buffers_[static_cast<size_t>(s.buffer)];
  const bool whole = s.offset.is(0) && ir::is_row_major(value.shape, s.strides) &&
                     buffer.elements == element_count(value.shape);
  if (whole && buffer.kind == LaidBuffer::Kind::arena) {
    buffer.kind = LaidBuffer::Kind::output;
    buffer.io = static_cast<int>(index);
    return;
  }
  emit_copy(v, s,
            {add_buffer(LaidBuffer::Kind::output, value, static_cast<int>(index)), 0,
             row_major(value.shape)});
}

Layout lay_out(ir::Graph& graph, const Bindings& opt, std::vector<Refused>& refused,
               const AxisOrders& orders, bool gpu) {
  Layout layout;
  layout.steps = Planner(graph, opt, orders, refused, layout, gpu).run();
  return layout;
}

}  // namespace vitrail
