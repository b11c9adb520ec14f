// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "import/onnx_scope.h"

namespace vitrail::onnx_import {

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
  /// A value of the outer graph, whatever names hide it inside.
  ValueId capture(ValueId outer) { return scope_->capture(outer); }
  /// What the body knows by `name`.
  void define(const std::string& name, ValueId inner) { scope_->define(name, inner, "body input"); }
  void build() {
    scope_->add_initializers(proto_);
    scope_->declare(proto_);
    std::vector<std::string_view> results;
    for (const auto& info : proto_.output()) results.push_back(info.name());
    scope_->add_nodes(*proto_.mutable_node(), results);
    scope_->add_outputs(proto_);
  }
  ir::Graph& graph() { return *graph_; }
  void merge_symbols(ir::Graph& into) const {
    for (const auto& [symbol, info] : graph_->symbols) into.symbols.try_emplace(symbol, info);
  }
  const std::vector<std::pair<ValueId, ValueId>>& captures() const { return scope_->captures_; }
  /// The body with `outer` as its last inputs, in that order.
  std::unique_ptr<ir::Graph> close(const ir::Graph& parent, const std::vector<ValueId>& outer) {
    for (ValueId o : outer) {
      const auto found = std::find_if(captures().begin(), captures().end(),
                                      [&](const auto& c) { return c.first == o; });
      const ir::Value& value = parent.value(o);
      graph_->inputs.push_back(found != captures().end()
                                   ? found->second
                                   : graph_->add_value(value.name, value.dtype, value.shape));
    }
    return std::move(graph_);
  }

 private:
  onnx::GraphProto& proto_;
  std::unique_ptr<ir::Graph> graph_;
  std::unique_ptr<Scope> scope_;
};

}  // namespace vitrail::onnx_import
