// SPDX-License-Identifier: Apache-2.0
#include "compile/layout.h"

#include <algorithm>
#include <map>
#include <set>

namespace vitrail {
namespace {

class Planner {
 public:
  Planner(const ir::Graph& graph, const Bindings& opt, std::vector<Refused>& refused)
      : graph_(graph), opt_(opt), refused_(refused), users_(graph.users()), storage_(graph.value_count()) {}

  Layout run() {
    const auto order = graph_.topological_order();
    for (ir::NodeId id : order)
      if (graph_.node(id).is_fusion()) {
        std::string why;
        auto lowered = lower(graph_, graph_.node(id), &why);
        if (lowered) lowered_.emplace(id, std::move(*lowered));
        else refused_.push_back({id, why});
      }
    if (!refused_.empty()) return {};
    for (ir::ValueId in : graph_.inputs) {
      const ir::Value& value = graph_.value(in);
      place(in, {add_buffer(LaidBuffer::Kind::input, value.dtype, element_count(value.shape), in), 0, row_major(value.shape)});
    }
    // Concats from the last to the first: a window of a window is known before its inputs.
    for (size_t i = order.size(); i-- > 0;)
      if (graph_.node(order[i]).is("Concat")) plan_concat(graph_.node(order[i]));
    find_needed(order);
    for (ir::NodeId id : order)
      if (needed_.contains(id)) visit(id);
    for (ir::ValueId out : graph_.outputs) finish_output(out);
    return std::move(layout_);
  }

 private:
  // Nodes whose data a step or an output reads. Views and lowered fusions need no shape inputs: those
  // are known as expressions.
  void find_needed(const std::vector<ir::NodeId>& order) {
    std::set<ir::ValueId> values(graph_.outputs.begin(), graph_.outputs.end());
    for (size_t i = order.size(); i-- > 0;) {
      const ir::Node& node = graph_.node(order[i]);
      if (std::none_of(node.outputs.begin(), node.outputs.end(), [&](ir::ValueId v) { return values.contains(v); })) continue;
      needed_.insert(order[i]);
      if (node.is_fusion()) {
        for (const LoweredOperand& in : lowered_.at(order[i]).inputs)
          if (in.io >= 0) values.insert(node.inputs[static_cast<size_t>(in.io)]);
      } else if (ir::is_view(graph_, node)) {
        values.insert(node.inputs[0]);
      } else {
        values.insert(node.inputs.begin(), node.inputs.end());
      }
    }
  }

  // ------------------------------------------------------------------ buffers and storages
  int add_buffer(LaidBuffer::Kind kind, DType dtype, Expr elements, ir::ValueId value = {}) {
    layout_.buffers.push_back({kind, dtype, std::move(elements), value});
    return static_cast<int>(layout_.buffers.size()) - 1;
  }
  void place(ir::ValueId v, ir::Storage s) { storage_[v.index] = std::move(s); }
  ir::Storage& of(ir::ValueId v) {
    ir::Storage& s = storage_[v.index];
    if (s.buffer < 0 && graph_.value(v).is_constant())
      s = {add_buffer(LaidBuffer::Kind::constant, graph_.value(v).dtype, element_count(graph_.value(v).shape), v), 0,
           row_major(graph_.value(v).shape)};
    return s;
  }
  ir::Storage fresh(const ir::Value& value, const ir::AxisOrder& order) {
    return {add_buffer(LaidBuffer::Kind::arena, value.dtype, element_count(value.shape)), 0, ir::dense_strides(value.shape, order)};
  }
  double bytes_of(ir::ValueId v) const {
    const ir::Value& value = graph_.value(v);
    double count = static_cast<double>(size_of(value.dtype));
    for (const Expr& d : value.shape) {
      std::set<std::string> symbols;
      d.collect_symbols(symbols);
      const bool known = std::all_of(symbols.begin(), symbols.end(), [&](const std::string& s) { return opt_.contains(s); });
      count *= static_cast<double>(known ? d.eval(opt_) : 1);
    }
    return count;
  }

  // ------------------------------------------------------------------ what an order would cost
  // Bytes copied downstream when v has these strides.
  double cost(ir::ValueId v, const ir::Storage& s, int depth = 0) {
    double total = graph_.is_output(v) && !ir::is_row_major(graph_.value(v).shape, s.strides) ? bytes_of(v) : 0;
    if (depth > 16) return total;
    std::set<ir::NodeId> seen;
    for (ir::NodeId id : users_[v.index]) {
      if (!seen.insert(id).second) continue;
      const ir::Node& node = graph_.node(id);
      if (ir::is_view(graph_, node)) {
        if (node.inputs[0] != v) continue;
        for (size_t i = 0; i < node.outputs.size(); ++i) {
          const auto out = ir::view_storage(graph_, node, i, s);
          total += out ? cost(node.outputs[i], *out, depth + 1) : bytes_of(v);
        }
      } else if (node.is_fusion()) {
        const auto found = lowered_.find(id);
        for (const LoweredOperand& in : found->second.inputs)
          if (in.io >= 0 && node.inputs[static_cast<size_t>(in.io)] == v && !dense_enough(in, v, s)) total += bytes_of(v);
      }
    }
    return total;
  }
  bool dense_enough(const LoweredOperand& operand, ir::ValueId v, const ir::Storage& s) const {
    if (operand.innermost < 0) return true;
    const auto axis = static_cast<size_t>(operand.innermost);
    return graph_.value(v).shape[axis].is(1) || s.strides[axis].is(1);
  }

  // Orders worth trying for v, the default first: what its readers' Transposes want.
  std::vector<ir::AxisOrder> candidates(ir::ValueId v, ir::AxisOrder preferred, int innermost) {
    std::vector<ir::AxisOrder> out = {std::move(preferred)};
    const size_t rank = graph_.value(v).rank();
    const auto add = [&](const ir::AxisOrder& order) {
      if (order.size() != rank || (innermost >= 0 && order.back() != innermost)) return;
      if (std::find(out.begin(), out.end(), order) == out.end()) out.push_back(order);
    };
    add(ir::natural_order(rank));
    for (ir::NodeId id : users_[v.index]) {
      const ir::Node& node = graph_.node(id);
      if (node.is("Transpose") && node.attrs.has("perm")) {
        ir::AxisOrder perm;
        for (int64_t p : node.attrs.integers("perm")) perm.push_back(static_cast<int>(p));
        add(perm);
      } else if (node.is_fusion()) {
        for (const LoweredOperand& in : lowered_.at(id).inputs)
          if (in.io >= 0 && node.inputs[static_cast<size_t>(in.io)] == v && in.innermost >= 0 &&
              std::find(in.axes.begin(), in.axes.end(), -1) == in.axes.end())
            add(in.axes.back() == in.innermost ? in.axes : moved_last(in.axes, in.innermost));
      }
    }
    return out;
  }
  static ir::AxisOrder moved_last(ir::AxisOrder axes, int last) {
    axes.erase(std::find(axes.begin(), axes.end(), last));
    axes.push_back(last);
    return axes;
  }
  ir::AxisOrder best_order(ir::ValueId v, ir::AxisOrder preferred, int innermost) {
    const auto list = candidates(v, std::move(preferred), innermost);
    size_t best = 0;
    double least = -1;
    for (size_t i = 0; i < list.size(); ++i) {
      const double c = cost(v, {0, 0, ir::dense_strides(graph_.value(v).shape, list[i])});
      if (least < 0 || c < least) {
        least = c;
        best = i;
      }
    }
    return list[best];
  }

  // ------------------------------------------------------------------ Concat
  // The value at the top of a chain of invertible views, and the storage it needs.
  std::pair<ir::ValueId, std::optional<ir::Storage>> owner_of(ir::ValueId v, ir::Storage wanted) {
    for (;;) {
      const ir::Node* producer = graph_.producer(v);
      if (!producer || !ir::is_view(graph_, *producer)) return {v, wanted};
      const auto up = ir::inverse_view(graph_, *producer, wanted);
      if (!up) return {v, std::nullopt};
      wanted = *up;
      v = producer->inputs[0];
    }
  }
  bool may_write(ir::ValueId v, const ir::Storage& s) {
    const ir::Node* producer = graph_.producer(v);
    if (!producer || storage_[v.index].buffer >= 0) return false;
    if (producer->is("Concat")) return true;
    if (!producer->is_fusion()) return true;  // a host step writes through any strides
    const auto& outputs = lowered_.at(graph_.value(v).producer).outputs;
    for (const LoweredOperand& out : outputs)
      if (producer->outputs[static_cast<size_t>(out.io)] == v) return dense_enough(out, v, s);
    return false;
  }
  size_t concat_axis(const ir::Node& node) const {
    return static_cast<size_t>(normalize_axis(node.attrs.integer("axis"), graph_.value(node.outputs[0]).rank(), "axis"));
  }
  void plan_concat(const ir::Node& node) {
    const ir::ValueId out = node.outputs[0];
    if (storage_[out.index].buffer < 0)
      place(out, fresh(graph_.value(out), best_order(out, ir::natural_order(graph_.value(out).rank()), -1)));
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
  void emit_copy(ir::ValueId v, const ir::Storage& from, const ir::Storage& to, const Shape& shape) {
    LaidStep step;
    step.name = "copy " + graph_.value(v).name;
    step.inputs = {from};
    step.outputs = {to};
    step.input_values = step.output_values = {v};
    Problem& problem = step.lowered.problem;
    problem.family = "copy";
    const DType dtype = graph_.value(v).dtype;
    problem.inputs = {{dtype, shape, from.strides, false}};
    problem.outputs = {{dtype, shape, to.strides, false}};
    step.copied_bytes = bytes_of(v);
    ++layout_.copies;
    layout_.steps.push_back(std::move(step));
  }
  // v in memory of the wanted order; copies are made once.
  ir::Storage in_order(ir::ValueId v, const ir::AxisOrder& order) {
    const auto key = std::make_pair(v.index, order);
    const auto found = copies_.find(key);
    if (found != copies_.end()) return found->second;
    const ir::Storage to = fresh(graph_.value(v), order);
    emit_copy(v, of(v), to, graph_.value(v).shape);
    copies_[key] = to;
    return to;
  }

  void visit(ir::NodeId id) {
    const ir::Node& node = graph_.node(id);
    if (ir::is_view(graph_, node)) return visit_view(node);
    if (node.is("Concat")) return visit_concat(node);
    if (node.is_fusion()) return visit_fusion(id, node);
    visit_host(id, node);
  }

  void visit_view(const ir::Node& node) {
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      const ir::ValueId out = node.outputs[i];
      if (!out.valid() || (users_[out.index].empty() && !graph_.is_output(out))) continue;
      auto s = ir::view_storage(graph_, node, i, of(node.inputs[0]));
      if (!s) {  // the elements must move: row-major memory takes any Reshape
        const ir::Storage dense = in_order(node.inputs[0], ir::natural_order(graph_.value(node.inputs[0]).rank()));
        s = ir::view_storage(graph_, node, i, dense);
        require(s.has_value(), Code::internal, "'{}' is no view of dense memory", node.name);
      }
      place(out, *s);
    }
  }

  void visit_concat(const ir::Node& node) {
    ir::Storage window = of(node.outputs[0]);
    const size_t axis = concat_axis(node);
    for (ir::ValueId in : node.inputs) {
      const ir::Storage& have = of(in);
      if (!(have.buffer == window.buffer && have.offset == window.offset && have.strides == window.strides))
        emit_copy(in, have, window, graph_.value(in).shape);
      window.offset += graph_.value(in).shape[axis] * window.strides[axis];
    }
  }

  void visit_fusion(ir::NodeId id, const ir::Node& node) {
    LaidStep step;
    step.node = id;
    step.name = node.name;
    step.lowered = lowered_.at(id);
    Lowered& lowered = step.lowered;
    for (size_t i = 0; i < lowered.inputs.size(); ++i) {
      const LoweredOperand& operand = lowered.inputs[i];
      if (operand.io < 0 || operand.packed) {
        step.inputs.emplace_back();
        step.input_values.push_back(operand.io < 0 ? ir::kNoValue : node.inputs[static_cast<size_t>(operand.io)]);
        lowered.problem.inputs[i].strides = row_major(operand.dims);
        continue;
      }
      const ir::ValueId v = node.inputs[static_cast<size_t>(operand.io)];
      ir::Storage s = of(v);
      if (!dense_enough(operand, v, s)) s = in_order(v, moved_last(ir::natural_order(graph_.value(v).rank()), operand.innermost));
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
        place(v, fresh(graph_.value(v), best_order(v, std::move(preferred), operand.innermost)));
      }
      step.outputs.push_back(of(v));
      step.output_values.push_back(v);
      lowered.problem.outputs[i].strides = strides_of(operand, of(v));
    }
    layout_.steps.push_back(std::move(step));
  }

  // Strides in the problem's axis order. Extents of 1 get the stride that lets them merge with
  // the extent after them.
  static Shape strides_of(const LoweredOperand& operand, const ir::Storage& s) {
    Shape out(operand.axes.size());
    for (size_t i = operand.axes.size(); i-- > 0;) {
      const bool last = i + 1 == operand.axes.size();
      if (operand.dims[i].is(1)) out[i] = last ? Expr(1) : out[i + 1] * operand.dims[i + 1];
      else if (operand.axes[i] < 0) out[i] = 0;
      else out[i] = s.strides[static_cast<size_t>(operand.axes[i])];
    }
    return out;
  }

  // A result with a free order follows the memory of the first input of its shape.
  ir::AxisOrder order_like(const LaidStep& step, ir::ValueId v) const {
    const Shape& shape = graph_.value(v).shape;
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      const ir::ValueId in = step.input_values[i];
      if (!in.valid() || graph_.value(in).shape != shape || step.inputs[i].strides.size() != shape.size()) continue;
      ir::AxisOrder order = ir::natural_order(shape.size());
      const auto stride = [&](int axis) {
        const Expr& e = step.inputs[i].strides[static_cast<size_t>(axis)];
        std::set<std::string> symbols;
        e.collect_symbols(symbols);
        for (const std::string& s : symbols)
          if (!opt_.contains(s)) return int64_t{0};
        return e.eval(opt_);
      };
      std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return stride(a) > stride(b); });
      return order;
    }
    return ir::natural_order(shape.size());
  }

  void visit_host(ir::NodeId id, const ir::Node& node) {
    LaidStep step;
    step.node = id;
    step.host = true;
    step.name = node.name;
    for (ir::ValueId in : node.inputs) {
      step.inputs.push_back(in.valid() ? of(in) : ir::Storage{});
      step.input_values.push_back(in);
    }
    for (ir::ValueId out : node.outputs) {
      if (out.valid() && storage_[out.index].buffer < 0)
        place(out, fresh(graph_.value(out), ir::natural_order(graph_.value(out).rank())));
      step.outputs.push_back(out.valid() ? of(out) : ir::Storage{});
      step.output_values.push_back(out);
    }
    layout_.steps.push_back(std::move(step));
  }

  // A model's output is dense row-major memory of its own.
  void finish_output(ir::ValueId v) {
    const ir::Value& value = graph_.value(v);
    const ir::Storage s = of(v);
    LaidBuffer& buffer = layout_.buffers[static_cast<size_t>(s.buffer)];
    const bool whole = s.offset.is(0) && ir::is_row_major(value.shape, s.strides) && buffer.elements == element_count(value.shape);
    if (whole && buffer.kind == LaidBuffer::Kind::arena && !finished_.contains(s.buffer)) {
      buffer.kind = LaidBuffer::Kind::output;
      buffer.value = v;
      finished_.insert(s.buffer);
      return;
    }
    const ir::Storage to = {add_buffer(LaidBuffer::Kind::output, value.dtype, element_count(value.shape), v), 0, row_major(value.shape)};
    emit_copy(v, s, to, value.shape);
  }

  const ir::Graph& graph_;
  const Bindings& opt_;
  std::vector<Refused>& refused_;
  std::vector<std::vector<ir::NodeId>> users_;
  std::vector<ir::Storage> storage_;
  std::map<ir::NodeId, Lowered> lowered_;
  std::set<ir::NodeId> needed_;
  std::map<std::pair<uint32_t, ir::AxisOrder>, ir::Storage> copies_;
  std::set<int> finished_;
  Layout layout_;
};

}  // namespace

Layout lay_out(const ir::Graph& graph, const Bindings& opt, std::vector<Refused>& refused) {
  return Planner(graph, opt, refused).run();
}

}  // namespace vitrail
