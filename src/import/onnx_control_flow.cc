// SPDX-License-Identifier: Apache-2.0
// If and Loop with closed bodies.
#include <algorithm>

#include "import/onnx_body.h"

namespace vitrail::onnx_import {

onnx::GraphProto& Scope::graph_attribute(onnx::NodeProto& node, const char* name) const {
  for (auto& attribute : *node.mutable_attribute())
    if (attribute.name() == name) {
      require(attribute.has_g(), Code::bad_input, "attribute '{}' is no graph", name);
      return *attribute.mutable_g();
    }
  fail(Code::bad_input, "attribute '{}' is missing", name);
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
      require(proto.input_size() == 0, Code::bad_input, "a branch of If has no inputs, found {}",
              proto.input_size());
      require(proto.output_size() == node.output_size(), Code::bad_input,
              "it has {} outputs, the node {}", proto.output_size(), node.output_size());
      bodies.emplace_back(*this, proto, branch).build();
    });
    bodies.back().merge_symbols(graph_);
    for (const auto& [outer, inner] : bodies.back().captures())
      if (std::find(captured.begin(), captured.end(), outer) == captured.end())
        captured.push_back(outer);
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
  require(proto.input_size() == 2 + carried, Code::bad_input, "the body has {} inputs, expected {}",
          proto.input_size(), 2 + carried);
  require(proto.output_size() == node.output_size() + 1 && node.output_size() >= carried,
          Code::bad_input, "the body has {} outputs and the node {}, with {} carried values",
          proto.output_size(), node.output_size(), carried);
  ir::Node made;
  made.name = name;
  made.op = def;
  made.sources = {name};
  made.attrs.set("carried", int64_t{carried});
  for (const auto& input : node.input())
    made.inputs.push_back(input.empty() ? kNoValue : *lookup(input));
  made.inputs.resize(static_cast<size_t>(carried) + 2);
  BodyBuilder body(*this, proto, "body");
  const size_t unsupported_before = model_.unsupported.size();
  with_context("body", [&] {
    body.add_input(proto.input(0).name(), DType::i64, {});
    body.add_input(proto.input(1).name(), DType::boolean, {});
    for (int i = 0; i < carried; ++i) {
      const ValueId initial = made.inputs[static_cast<size_t>(i) + 2];
      require(initial.valid(), Code::bad_input, "carried value {} has no initial value", i);
      body.add_input(proto.input(2 + i).name(), graph_.value(initial).dtype,
                     graph_.value(initial).shape);
    }
    body.build();
  });
  if (model_.unsupported.size() > unsupported_before) return add_unsupported(node, name, 0, "");
  body.merge_symbols(graph_);
  std::vector<ValueId> captured;
  for (const auto& [outer, inner] : body.captures()) captured.push_back(outer);
  made.inputs.insert(made.inputs.end(), captured.begin(), captured.end());
  made.bodies.push_back(body.close(graph_, captured));
  finish_control_flow(node, std::move(made));
}

void Scope::finish_control_flow(const onnx::NodeProto& node, ir::Node made) {
  for (const auto& output : node.output())
    made.outputs.push_back(output.empty() ? kNoValue
                                          : graph_.add_value(ir_name(output), DType::f32, {}));
  const std::vector<ValueId> outputs = made.outputs;
  const ir::NodeId id = graph_.add_raw_node(std::move(made));
  graph_.infer(id);
  for (size_t i = 0; i < outputs.size(); ++i)
    if (outputs[i].valid()) define(node.output(static_cast<int>(i)), outputs[i], "value");
}

}  // namespace vitrail::onnx_import
