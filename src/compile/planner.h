// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <set>

#include "compile/layout.h"
#include "ir/control_flow.h"

namespace vitrail {

/// Lays out one graph: the model's, or the body of an If or Loop (with a planner of its own, over
/// the same buffers). Three files: planner.cc has the values and steps, planner_order.cc the axis
/// orders and what they cost, planner_control.cc the bodies.
class Planner {
 public:
  Planner(ir::Graph& graph, const Bindings& opt, const AxisOrders& orders,
          std::vector<Refused>& refused, Layout& layout, bool gpu);

  std::vector<LaidStep> run();

 private:
  // --- planner.cc
  void lower_fusions();
  void place_and_visit();
  void find_needed();
  int add_buffer(LaidBuffer::Kind kind, const ir::Value& value, int io = -1);
  void place(ir::ValueId v, ir::Storage s) { storage_[v.index] = std::move(s); }
  ir::Storage& of(ir::ValueId v);
  ir::Storage fresh(ir::ValueId v, const ir::AxisOrder& order);
  bool depends_on_data(const Expr& e) const;
  bool depends_on_data(const Shape& shape) const;
  std::pair<ir::ValueId, std::optional<ir::Storage>> owner_of(ir::ValueId v, ir::Storage wanted);
  bool may_write(ir::ValueId v, const ir::Storage& s);
  size_t concat_axis(const ir::Node& node) const;
  void plan_concat(const ir::Node& node);
  void emit_copy(ir::ValueId v, const ir::Storage& from, const ir::Storage& to);
  ir::Storage in_order(ir::ValueId v, const ir::AxisOrder& order);
  void visit(ir::NodeId id);
  void visit_view(const ir::Node& node);
  void visit_concat(const ir::Node& node);
  void visit_fusion(ir::NodeId id, const ir::Node& node);
  void visit_host(ir::NodeId id, const ir::Node& node);
  void finish_output(size_t index);

  // --- planner_order.cc
  double bytes_of(ir::ValueId v) const;
  double cost(ir::ValueId v, const ir::Storage& s, int depth = 0);
  bool dense_enough(const LoweredOperand& operand, ir::ValueId v, const ir::Storage& s) const;
  std::vector<ir::AxisOrder> candidates(ir::ValueId v, ir::AxisOrder preferred, int innermost);
  ir::AxisOrder best_order(ir::ValueId v, ir::AxisOrder preferred, int innermost);
  std::string place_of(ir::ValueId v) const;
  /// The order asked for under `key`, when it is among those; otherwise the one at `chosen`, which
  /// an empty order may say. Notes that there was a choice.
  ir::AxisOrder settle(std::string key, ir::ValueId v, std::vector<ir::AxisOrder> orders,
                       size_t chosen);
  /// The order that a reader of any strides gets a copy in; nothing: it reads v where it lies.
  std::optional<ir::AxisOrder> order_for_reader(const LoweredOperand& operand, ir::ValueId v,
                                                const ir::Storage& s, const ir::Node& reader);
  ir::AxisOrder order_like(const LaidStep& step, ir::ValueId v) const;

  // --- planner_control.cc
  void visit_if(ir::NodeId id, const ir::Node& node);
  void visit_loop(ir::NodeId id, const ir::Node& node);
  /// Where a body input lies: that of an outer value, or fresh memory.
  struct Body {
    std::vector<LaidStep> steps;
    std::vector<LaidValue> outputs;
  };
  /// Lays out a body whose inputs lie at `inputs`; output i is left at targets[i] where given.
  Body lay_out_body(ir::Graph& body, const std::vector<ir::Storage>& inputs,
                    const std::vector<std::optional<ir::Storage>>& targets);
  void aim_outputs(const std::vector<std::optional<ir::Storage>>& targets);
  LaidStep control_step(ir::NodeId id, const ir::Node& node, LaidStep::Kind kind);

  ir::Graph& graph_;
  const Bindings& opt_;
  const AxisOrders& orders_;
  std::vector<Refused>& refused_;
  Layout& layout_;
  std::vector<LaidBuffer>& buffers_;
  std::vector<LaidStep> steps_;
  std::vector<ir::NodeId> order_;
  std::vector<std::vector<ir::NodeId>> users_;
  std::vector<ir::Storage> storage_;
  std::map<ir::NodeId, Lowered> lowered_;
  std::set<ir::NodeId> needed_;
  std::map<std::pair<uint32_t, ir::AxisOrder>, ir::Storage> copies_;
  bool gpu_;
};

}  // namespace vitrail
