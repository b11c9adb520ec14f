// SPDX-License-Identifier: Apache-2.0
// Tokens times a matrix of each image beside two depthwise convolutions, as family positional (pass
// fuse_positional).
#include <algorithm>

#include "lower/families.h"

namespace vitrail {
namespace {
const std::vector<int> kNhwc = {0, 2, 3,
                                1};  // problem extents [n, h, w, c] of a value [n, c, h, w]
}

std::optional<Lowered> lower_positional(const BodyReader& reader, std::string* why) {
  std::vector<const ir::Node*> convs;
  const ir::Node *values = nullptr, *mixed = nullptr;
  for (const ir::Node* node : reader.nodes) {
    if (node->is("Conv")) convs.push_back(node);
    if (node->is("MatMul")) (reader.constant(node->inputs[1]) ? values : mixed) = node;
  }
  if (convs.size() != 2 || !values || !mixed)
    return *why = "not two convolutions and two products", std::nullopt;
  const auto after = [&](const ir::Node& node) -> const ir::Node* {
    for (const ir::Node* next : reader.nodes)
      if (std::find(next->inputs.begin(), next->inputs.end(), node.outputs[0]) !=
          next->inputs.end())
        return next;
    return nullptr;
  };
  // The vector that an Add after `node` adds; zeros when there is none.
  const auto bias_after = [&](const ir::Node& node, int64_t extent) {
    Tensor bias(DType::f32, {extent});
    std::fill_n(bias.mutable_data<float>(), extent, 0.0f);
    const ir::Node* add = after(node);
    if (!add || !add->is("Add")) return bias;
    const Tensor* c = reader.constant(add->inputs[add->inputs[0] == node.outputs[0] ? 1 : 0]);
    return c && c->size() == extent ? c->reshaped({extent}) : bias;
  };

  // Tokens are a Reshape of the image in the body.
  const ir::Node* tokens = reader.body.producer(values->inputs[0]);
  const ir::Node* sum = after(*convs[1]);
  if (!tokens || !sum || !sum->is("Add"))
    return *why = "no Reshape before or no Add after the products", std::nullopt;
  const int64_t e = reader.value(convs[0]->outputs[0]).shape[1].constant();
  Lowered out;
  out.inputs.push_back(plain_operand(reader, tokens->inputs[0], 3));
  LoweredOperand weight = plain_operand(reader, values->inputs[1], -1);
  weight.packed = true;
  out.inputs.push_back(std::move(weight));
  const Tensor biases[2] = {bias_after(*convs[0], e), bias_after(*mixed, e)};
  for (size_t i = 0; i < 2; ++i) {
    LoweredOperand window = plain_operand(reader, convs[i]->inputs[1], -1);
    window.packed = true;
    out.inputs.push_back(std::move(window));
    out.inputs.push_back({.io = -1, .axes = {0}, .dims = {e}, .constant = biases[i]});
  }
  out.inputs.push_back(plain_operand(reader, mixed->inputs[1], 2));
  for (const LoweredOperand& in : out.inputs)
    if (in.io < 0 && !in.constant.defined())
      return *why = "an operand made inside the body", std::nullopt;

  for (const ir::Node* node : reader.nodes) {
    if (node->outputs[0] == convs[1]->outputs[0])
      break;  // the epilogue's own activations come after
    if (node->is("Gelu")) out.problem.ints["activation"] = static_cast<int64_t>(Pointwise::gelu);
    if (node->is("Relu")) out.problem.ints["activation"] = static_cast<int64_t>(Pointwise::relu);
    if (node->is("Swish")) {
      out.problem.ints["activation"] = static_cast<int64_t>(Pointwise::swish);
      out.problem.floats["imm"] = node->attrs.number("alpha", 1.0);
    }
  }
  if (!lower_epilogue(reader, sum->outputs[0], kNhwc, 1, out, why)) return {};
  return out;
}

}  // namespace vitrail
