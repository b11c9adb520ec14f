// SPDX-License-Identifier: Apache-2.0
// Which order of axes a value gets in memory: the one that costs its readers the fewest copies.
#include <algorithm>

#include "compile/planner.h"
#include "passes/match.h"

namespace vitrail {
namespace {

ir::AxisOrder moved_last(ir::AxisOrder axes, int last) {
  axes.erase(std::find(axes.begin(), axes.end(), last));
  axes.push_back(last);
  return axes;
}

// The expression at the opt shapes; nothing when it depends on data.
std::optional<int64_t> known(const Expr& e, const Bindings& opt) {
  std::set<std::string> symbols;
  e.collect_symbols(symbols);
  const bool all = std::all_of(symbols.begin(), symbols.end(),
                               [&](const std::string& s) { return opt.contains(s); });
  return all ? std::optional(e.eval(opt)) : std::nullopt;
}

}  // namespace

double Planner::bytes_of(ir::ValueId v) const {
  const ir::Value& value = graph_.value(v);
  double count = static_cast<double>(size_of(value.dtype));
  for (const Expr& d : value.shape) count *= static_cast<double>(known(d, opt_).value_or(1));
  return count;
}

// Bytes copied downstream when v has these strides.
double Planner::cost(ir::ValueId v, const ir::Storage& s, int depth) {
  double total =
      graph_.is_output(v) && !ir::is_row_major(graph_.value(v).shape, s.strides) ? bytes_of(v) : 0;
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
        if (in.io >= 0 && node.inputs[static_cast<size_t>(in.io)] == v && !dense_enough(in, v, s))
          total += bytes_of(v);
    }
  }
  return total;
}

bool Planner::dense_enough(const LoweredOperand& operand, ir::ValueId v,
                           const ir::Storage& s) const {
  if (operand.innermost < 0) return true;
  const auto axis = static_cast<size_t>(operand.innermost);
  return graph_.value(v).shape[axis].is(1) || s.strides[axis].is(1);
}

// Orders worth trying for v, the default first: what its readers' Transposes want.
std::vector<ir::AxisOrder> Planner::candidates(ir::ValueId v, ir::AxisOrder preferred,
                                               int innermost) {
  std::vector<ir::AxisOrder> out = {std::move(preferred)};
  const size_t rank = graph_.value(v).rank();
  const auto add = [&](const ir::AxisOrder& order) {
    if (order.size() != rank || (innermost >= 0 && order.back() != innermost)) return;
    if (std::find(out.begin(), out.end(), order) == out.end()) out.push_back(order);
  };
  add(ir::natural_order(rank));
  for (ir::NodeId id : users_[v.index]) {
    const ir::Node& node = graph_.node(id);
    if (node.is("Transpose")) {
      ir::AxisOrder perm;
      for (int64_t p : passes::transpose_perm(graph_, node)) perm.push_back(static_cast<int>(p));
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

ir::AxisOrder Planner::best_order(ir::ValueId v, ir::AxisOrder preferred, int innermost) {
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
  return settle(graph_.value(v).name, v, list, best);
}

std::string Planner::place_of(ir::ValueId v) const {
  const ir::Value& value = graph_.value(v);
  const ir::Node* producer = graph_.producer(v);
  std::string out = to_string(value.shape) + (producer ? producer->type() : "");
  for (ir::NodeId id : users_[v.index]) out += fmt::format(" {}", graph_.node(id).type());
  return out;
}

ir::AxisOrder Planner::settle(std::string key, ir::ValueId v, std::vector<ir::AxisOrder> orders,
                              size_t chosen) {
  if (orders.size() < 2) return orders.at(0);
  if (const auto asked = orders_.find(key); asked != orders_.end())
    if (const auto at = std::find(orders.begin(), orders.end(), asked->second); at != orders.end())
      chosen = static_cast<size_t>(at - orders.begin());
  layout_.free.push_back({std::move(key), place_of(v), orders, chosen, bytes_of(v)});
  return orders[chosen];
}

// A kernel that takes any strides is slow where neighbours in its innermost extent lie far apart. A
// copy that another reader needs costs nothing more.
std::optional<ir::AxisOrder> Planner::order_for_reader(const LoweredOperand& operand, ir::ValueId v,
                                                       const ir::Storage& s,
                                                       const ir::Node& reader) {
  if (operand.innermost >= 0 || operand.axes.empty() || graph_.value(v).is_constant() ||
      std::find(operand.axes.begin(), operand.axes.end(), -1) != operand.axes.end())
    return {};
  const auto last = static_cast<size_t>(operand.axes.back());
  if (graph_.value(v).shape[last].is(1) || s.strides[last].is(1)) return {};
  ir::AxisOrder order =
      settle(fmt::format("{} for {}", graph_.value(v).name, reader.name), v, {{}, operand.axes},
             copies_.contains({v.index, operand.axes}) ? 1 : 0);
  if (order.empty()) return {};
  return order;
}

// A result with a free order follows the memory of the first input of its shape.
ir::AxisOrder Planner::order_like(const LaidStep& step, ir::ValueId v) const {
  const Shape& shape = graph_.value(v).shape;
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    const ir::ValueId in = step.input_values[i];
    if (!in.valid() || graph_.value(in).shape != shape ||
        step.inputs[i].strides.size() != shape.size())
      continue;
    ir::AxisOrder order = ir::natural_order(shape.size());
    const auto stride = [&](int axis) {
      return known(step.inputs[i].strides[static_cast<size_t>(axis)], opt_).value_or(0);
    };
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return stride(a) > stride(b); });
    return order;
  }
  return ir::natural_order(shape.size());
}

}  // namespace vitrail
