// SPDX-License-Identifier: Apache-2.0
// Scan (ONNX opset 9 and newer) becomes a Loop: round i reads element i of every scanned input, of
// one scanned backwards after it was turned round; rows stacked in the order of the rounds are
// turned round and moved to their axis behind the loop.
#include "import/onnx_body.h"
#include "ops/axes.h"

namespace vitrail::onnx_import {
namespace {

// An attribute with a number for each of `count` inputs or outputs; without it zeros.
std::vector<int64_t> numbers(const Attrs& attrs, const char* name, size_t count) {
  std::vector<int64_t> out = attrs.integers(name, std::vector<int64_t>(count, 0));
  require(out.size() == count, Code::bad_input, "'{}' has {} entries, expected {}", name,
          out.size(), count);
  return out;
}
std::vector<int64_t> directions(const Attrs& attrs, const char* name, size_t count) {
  std::vector<int64_t> out = numbers(attrs, name, count);
  for (int64_t d : out)
    require(d == 0 || d == 1, Code::bad_input, "'{}' has {}, expected 0 or 1", name, d);
  return out;
}

ValueId turned_round(ir::Graph& graph, ValueId v, int64_t axis, const std::string& name) {
  const auto number = [&](const char* what, int64_t value) {
    return graph.add_constant(name + "." + what, Tensor::of<int64_t>({1}, {value}));
  };
  return graph.op(
      "Slice",
      {v, number("from", -1), number("to", INT64_MIN), number("axis", axis), number("step", -1)},
      {}, name);
}

// Axis 0 becomes axis `axis`.
ValueId moved(ir::Graph& graph, ValueId v, int64_t axis, const std::string& name) {
  std::vector<int64_t> order;
  for (int64_t i = 1; i < static_cast<int64_t>(graph.value(v).rank()); ++i) order.push_back(i);
  order.insert(order.begin() + axis, 0);
  return graph.op("Transpose", {v}, {{"perm", order}}, name);
}

}  // namespace

void Scope::add_scan(onnx::NodeProto& node, const std::string& name, int64_t opset) {
  require(opset >= 9, Code::unsupported,
          "Scan of opset 8 has a batch axis and lengths of sequences, which are not supported: "
          "export the model for opset 9 or newer");
  onnx::GraphProto& proto = graph_attribute(node, "body");
  onnx::NodeProto plain;
  for (const auto& attribute : node.attribute())
    if (attribute.name() != "body") *plain.add_attribute() = attribute;
  const Attrs attrs = attributes(plain);
  const int64_t scanned_count = attrs.integer("num_scan_inputs");
  require(1 <= scanned_count && scanned_count <= node.input_size(), Code::bad_input,
          "num_scan_inputs is {}, the node has {} inputs", scanned_count, node.input_size());
  const auto scanned = static_cast<size_t>(scanned_count);
  const size_t carried = static_cast<size_t>(node.input_size()) - scanned;
  require(proto.input_size() == node.input_size() && proto.output_size() == node.output_size() &&
              static_cast<size_t>(node.output_size()) >= carried,
          Code::bad_input,
          "the body has {} inputs and {} outputs, the node {} and {}, with {} state variables",
          proto.input_size(), proto.output_size(), node.input_size(), node.output_size(), carried);
  const size_t stacked = static_cast<size_t>(node.output_size()) - carried;
  const std::vector<int64_t> in_axes = numbers(attrs, "scan_input_axes", scanned),
                             in_back = directions(attrs, "scan_input_directions", scanned),
                             out_axes = numbers(attrs, "scan_output_axes", stacked),
                             out_back = directions(attrs, "scan_output_directions", stacked);

  std::vector<ValueId> inputs = inputs_of(node);
  inputs.resize(static_cast<size_t>(node.input_size()));
  for (ValueId in : inputs) require(in.valid(), Code::bad_input, "an input is absent");
  std::vector<int64_t> axes;
  Expr rounds;
  for (size_t i = 0; i < scanned; ++i) {
    ValueId& in = inputs[carried + i];
    axes.push_back(normalize_axis(in_axes[i], graph_.value(in).rank(), "scan_input_axes"));
    const Expr& extent = graph_.value(in).shape[static_cast<size_t>(axes[i])];
    if (i == 0) rounds = extent;
    require(extent == rounds || !extent.is_constant() || !rounds.is_constant(), Code::bad_input,
            "scanned inputs have {} and {} elements", rounds.str(), extent.str());
    if (!(extent == rounds)) graph_.guards.push_back({rounds, extent});
    if (in_back[i]) in = turned_round(graph_, in, axes[i], fmt::format("{}.back{}", name, i));
  }
  const ValueId shape = graph_.op("Shape", {inputs[carried]}, {}, name + ".shape");
  const ValueId trips = graph_.op(
      "Gather", {shape, graph_.add_constant(name + ".axis", Tensor::scalar<int64_t>(axes[0]))},
      {{"axis", int64_t{0}}}, name + ".rounds");

  ir::Node made;
  made.name = name;
  made.op = find_op("", "Loop");
  made.sources = {name};
  made.attrs.set("carried", static_cast<int64_t>(carried));
  made.inputs = {trips, kNoValue};
  made.inputs.insert(made.inputs.end(), inputs.begin(),
                     inputs.begin() + static_cast<std::ptrdiff_t>(carried));
  BodyBuilder body(*this, proto, "body");
  const size_t unsupported_before = model_.unsupported.size();
  with_context("body", [&] {
    ir::Graph& inner = body.graph();
    const ValueId round = inner.add_value(name + ".round", DType::i64, {}),
                  go_on = inner.add_value(name + ".go_on", DType::boolean, {});
    inner.inputs = {round, go_on};
    for (size_t i = 0; i < carried; ++i)
      body.add_input(proto.input(static_cast<int>(i)).name(), graph_.value(inputs[i]).dtype,
                     graph_.value(inputs[i]).shape);
    for (size_t i = 0; i < scanned; ++i) {
      const std::string& known_as = proto.input(static_cast<int>(carried + i)).name();
      body.define(known_as, inner.op("Gather", {body.capture(inputs[carried + i]), round},
                                     {{"axis", axes[i]}}, name + "." + known_as));
    }
    body.build();
    inner.outputs.insert(inner.outputs.begin(), go_on);
  });
  if (model_.unsupported.size() > unsupported_before) return add_unsupported(node, name, 0, "");
  body.merge_symbols(graph_);
  std::vector<ValueId> captured;
  for (const auto& [outer, in] : body.captures()) captured.push_back(outer);
  made.inputs.insert(made.inputs.end(), captured.begin(), captured.end());
  made.bodies.push_back(body.close(graph_, captured));

  // Rows that are turned round or moved have another name until then.
  const auto stays = [&](size_t i) { return !out_back[i] && out_axes[i] == 0; };
  for (int i = 0; i < node.output_size(); ++i) {
    const std::string& output = node.output(i);
    const auto row = static_cast<size_t>(i) - carried;
    const bool last = static_cast<size_t>(i) < carried || stays(row);
    made.outputs.push_back(
        output.empty()
            ? kNoValue
            : graph_.add_value(last ? ir_name(output) : ir_name(output) + ".rows", DType::f32, {}));
  }
  std::vector<ValueId> outputs = made.outputs;
  graph_.infer(graph_.add_raw_node(std::move(made)));
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!outputs[i].valid()) continue;
    const std::string& output = node.output(static_cast<int>(i));
    if (i >= carried && !stays(i - carried)) {
      const size_t row = i - carried;
      const int64_t axis =
          normalize_axis(out_axes[row], graph_.value(outputs[i]).rank(), "scan_output_axes");
      if (out_back[row])
        outputs[i] = turned_round(graph_, outputs[i], 0,
                                  axis == 0 ? ir_name(output) : ir_name(output) + ".back");
      if (axis != 0) outputs[i] = moved(graph_, outputs[i], axis, ir_name(output));
    }
    define(output, outputs[i], "value");
  }
}

}  // namespace vitrail::onnx_import
