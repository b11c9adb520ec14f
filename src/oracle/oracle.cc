// SPDX-License-Identifier: Apache-2.0
#include "oracle/oracle.h"

#include <algorithm>
#include <set>

#include "base/recycle.h"

namespace vitrail::oracle {
namespace {

class Runner {
 public:
  Runner(const ir::Graph& graph, const Options& options, const Bindings& symbols,
         const Place* place)
      : graph_(graph),
        options_(options),
        symbols_(symbols),
        place_(place),
        values_(graph.value_count()),
        uses_(graph.value_count(), 0) {}

  std::vector<Tensor> run(const std::vector<Tensor>& inputs) {
    if (place_ && options_.enter) options_.enter(*place_, inputs);
    for (size_t i = 0; i < inputs.size(); ++i)
      values_[graph_.inputs[i].index] = narrowed(inputs[i], graph_.inputs[i]);
    for (uint32_t v = 0; v < graph_.value_count(); ++v)
      if (graph_.value({v}).is_constant()) values_[v] = stored(graph_.value({v}).constant, {v});
    const auto order = graph_.topological_order();
    for (ir::NodeId id : order)
      for (ir::ValueId in : graph_.node(id).inputs)
        if (in.valid()) ++uses_[in.index];
    for (ir::ValueId out : graph_.outputs) ++uses_[out.index];
    for (ir::NodeId id : order) step(id);
    std::vector<Tensor> out;
    for (ir::ValueId v : graph_.outputs) out.push_back(values_[v.index]);
    return out;
  }

 private:
  // The tensor as references see it: half types rounded and widened, f32 in the chosen precision.
  Tensor stored(const Tensor& t, ir::ValueId value) const {
    const DType declared = graph_.value(value).dtype;
    if (!is_float(declared)) return t.dtype() == declared ? t : t.cast(declared);
    if (declared == DType::f64) return t.cast(DType::f64);
    if (declared == DType::f16 || declared == DType::bf16)
      return t.cast(declared).cast(options_.precision);
    return narrowed(t.cast(options_.precision), value);
  }
  Tensor narrowed(const Tensor& t, ir::ValueId value) const {
    const bool narrow = place_ && !place_->outer && value.index < options_.rounded.size() &&
                        options_.rounded[value.index];
    return narrow ? rounded(t, options_.rounding) : t;
  }

  void step(ir::NodeId id) {
    const ir::Node& node = graph_.node(id);
    std::vector<Tensor> outputs =
        with_context(fmt::format("node '{}' ({})", printable(node.name), node.type()),
                     [&] { return outputs_of(id); });
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      const ir::ValueId out = node.outputs[i];
      if (!out.valid()) continue;
      outputs[i] = stored(outputs[i], out);
      if (uses_[out.index] > 0) values_[out.index] = outputs[i];
    }
    if (place_ && options_.observe) options_.observe(*place_, id, outputs);
    for (ir::ValueId in : node.inputs)  // memory is given back with the last use
      if (in.valid() && --uses_[in.index] == 0) values_[in.index] = Tensor();
  }

  std::vector<Tensor> outputs_of(ir::NodeId id) {
    const ir::Node& node = graph_.node(id);
    if (node.is_fusion()) {
      const size_t which = std::min(options_.body, node.bodies.size() - 1);
      return run_body(*node.bodies[which], gather(node, 0), nullptr);
    }
    if (node.is("If")) {
      const Tensor& condition = values_[node.inputs[0].index];
      require(condition.size() == 1, Code::bad_input, "the condition has {} elements",
              condition.size());
      return body(id, condition.int_at(0) ? 0 : 1, gather(node, 1));
    }
    if (node.is("Loop")) return loop(id);
    RunContext ctx{
        node.attrs, {}, std::vector<Tensor>(node.outputs.size()), options_.precision == DType::f64};
    for (ir::ValueId in : node.inputs)
      ctx.inputs.push_back(in.valid() ? &values_[in.index] : nullptr);
    node.op->reference(ctx);
    return std::move(ctx.outputs);
  }

  // Node inputs: trip count, condition, carried..., captures...; the attribute `carried` counts the
  // carried. Body: (iteration, condition, carried..., captures...) -> (condition, carried...,
  // scans...).
  std::vector<Tensor> loop(ir::NodeId id) {
    const ir::Node& node = graph_.node(id);
    const ir::Graph& inner = *node.bodies[0];
    const auto carried = static_cast<size_t>(node.attrs.integer("carried"));
    const int64_t trips =
        node.inputs[0].valid() ? values_[node.inputs[0].index].int_at(0) : INT64_MAX;
    bool condition = node.inputs.size() < 2 || !node.inputs[1].valid() ||
                     values_[node.inputs[1].index].int_at(0);
    std::vector<Tensor> state = gather(node, 2);
    std::vector<std::vector<Tensor>> scans(node.outputs.size() - carried);
    constexpr int64_t kMostTrips = 1 << 24;
    for (int64_t i = 0; condition && i < trips; ++i) {
      require(i < kMostTrips, Code::resource, "the loop ran {} times without end", i);
      std::vector<Tensor> in = {Tensor::scalar<int64_t>(i), Tensor::scalar<bool>(condition)};
      in.insert(in.end(), state.begin(), state.end());
      std::vector<Tensor> out = body(id, 0, in);
      condition = out[0].int_at(0) != 0;
      for (size_t c = 0; c < carried; ++c) state[c] = out[1 + c];
      for (size_t s = 0; s < scans.size(); ++s) scans[s].push_back(out[1 + carried + s]);
    }
    std::vector<Tensor> out(state.begin(), state.begin() + static_cast<std::ptrdiff_t>(carried));
    for (size_t s = 0; s < scans.size(); ++s)
      out.push_back(stack(scans[s], inner.value(inner.outputs[1 + carried + s])));
    return out;
  }

  Tensor stack(const std::vector<Tensor>& slices, const ir::Value& like) const {
    if (slices.empty()) {
      Dims dims = {0};
      for (const Expr& d : like.shape) {  // an extent that only an iteration would give is 0
        std::set<std::string> used;
        d.collect_symbols(used);
        const bool known = std::all_of(used.begin(), used.end(),
                                       [&](const std::string& s) { return symbols_.contains(s); });
        dims.push_back(known ? d.eval(symbols_) : 0);
      }
      return Tensor(like.dtype, dims);
    }
    Dims dims = slices[0].dims();
    dims.insert(dims.begin(), static_cast<int64_t>(slices.size()));
    Tensor out(slices[0].dtype(), dims);
    for (size_t i = 0; i < slices.size(); ++i) {
      require(slices[i].dims() == slices[0].dims(), Code::bad_input,
              "iteration {} gives shape {}, the first {}", i, to_string(slices[i].dims()),
              to_string(slices[0].dims()));
      if (slices[i].bytes())
        std::memcpy(static_cast<char*>(out.mutable_raw()) + i * slices[i].bytes(), slices[i].raw(),
                    slices[i].bytes());
    }
    return out;
  }

  std::vector<Tensor> gather(const ir::Node& node, size_t first) const {
    std::vector<Tensor> out;
    for (size_t i = first; i < node.inputs.size(); ++i)
      out.push_back(node.inputs[i].valid() ? values_[node.inputs[i].index] : Tensor());
    return out;
  }
  // A body of an If or Loop.
  std::vector<Tensor> body(ir::NodeId id, size_t which, const std::vector<Tensor>& inputs) const {
    const ir::Graph& inner = *graph_.node(id).bodies[which];
    const Place place{.graph = inner, .outer = place_, .node = id, .body = which};
    return run_body(inner, inputs, place_ ? &place : nullptr);
  }
  std::vector<Tensor> run_body(const ir::Graph& inner, const std::vector<Tensor>& inputs,
                               const Place* place) const {
    require(inputs.size() == inner.inputs.size(), Code::internal,
            "body '{}' has {} inputs, {} given", inner.name, inner.inputs.size(), inputs.size());
    return Runner(inner, options_, symbols_, place).run(inputs);
  }

  const ir::Graph& graph_;
  const Options& options_;
  const Bindings& symbols_;  // of the input shapes
  const Place* place_;       // null: inside a fusion
  std::vector<Tensor> values_;
  std::vector<int> uses_;
};

}  // namespace

Bindings solve_symbols(const ir::Graph& graph, const std::vector<Dims>& inputs) {
  Bindings out;
  require(inputs.size() == graph.inputs.size(), Code::bad_input,
          "model '{}' has {} inputs, {} given", printable(graph.name), graph.inputs.size(),
          inputs.size());
  const auto each = [&](auto action) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      const ir::Value& value = graph.value(graph.inputs[i]);
      require(value.shape.size() == inputs[i].size(), Code::bad_input,
              "input '{}' has shape {}, found {}", printable(value.name), to_string(value.shape),
              to_string(inputs[i]));
      for (size_t d = 0; d < inputs[i].size(); ++d) action(value, value.shape[d], inputs[i][d]);
    }
  };
  each([&](const ir::Value&, const Expr& extent, int64_t found) {
    const std::string text = extent.str();
    if (graph.symbols.contains(text)) out.emplace(text, found);
  });
  each([&](const ir::Value& value, const Expr& extent, int64_t found) {
    require(extent.eval(out) == found, Code::bad_input,
            "input '{}' has shape {}: extent {} must be {}, found {}", printable(value.name),
            to_string(value.shape), extent.str(), extent.eval(out), found);
  });
  return out;
}

std::vector<Tensor> run(const ir::Graph& graph, const std::vector<Tensor>& inputs,
                        const Options& options) {
  const RecycleTensors recycle;
  std::vector<Dims> dims;
  for (const Tensor& t : inputs) dims.push_back(t.dims());
  const Bindings symbols = solve_symbols(graph, dims);
  std::vector<Tensor> stored;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ir::Value& value = graph.value(graph.inputs[i]);
    require(is_float(inputs[i].dtype()) == is_float(value.dtype), Code::bad_input,
            "input '{}' is {}, found {}", printable(value.name), name_of(value.dtype),
            name_of(inputs[i].dtype()));
    Tensor t = inputs[i];
    if (value.dtype == DType::f16 || value.dtype == DType::bf16) t = t.cast(value.dtype);
    stored.push_back(is_float(value.dtype)
                         ? t.cast(value.dtype == DType::f64 ? DType::f64 : options.precision)
                         : t.cast(value.dtype));
  }
  const Place top{.graph = graph};
  return Runner(graph, options, symbols, &top).run(stored);
}

}  // namespace vitrail::oracle
