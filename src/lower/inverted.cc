// SPDX-License-Identifier: Apache-2.0
// [LayerNormalization, Transpose,] 1x1, depthwise, 1x1 as family inverted (pass fuse_inverted).
#include <algorithm>

#include "lower/families.h"

namespace vitrail {
namespace {

const std::vector<int> kNhwc = {0, 2, 3,
                                1};  // problem extents [n, h, w, c] of a value [n, c, h, w]

// ONNX stores [o, c, 1, 1]; the family takes [c, o].
Tensor turned(const Tensor& weight) {
  const int64_t o = weight.dims()[0], c = weight.dims()[1];
  Tensor out(DType::f32, {c, o});
  for (int64_t i = 0; i < o; ++i)
    for (int64_t k = 0; k < c; ++k)
      out.mutable_data<float>()[k * o + i] = weight.data<float>()[i * c + k];
  return out;
}

struct Reader {
  const BodyReader& body;

  const ir::Node* after(const ir::Node& node) const {
    for (const ir::Node* next : body.nodes)
      if (std::find(next->inputs.begin(), next->inputs.end(), node.outputs[0]) !=
          next->inputs.end())
        return next;
    return nullptr;
  }
  // What follows a convolution: its bias (zeros without one) and activation, as the problem's ints.
  Tensor tail(const ir::Node& conv, Problem& problem, const char* key, const char* imm) const {
    Tensor bias(DType::f32, {body.value(conv.outputs[0]).shape[1].constant()});
    std::fill_n(bias.mutable_data<float>(), bias.size(), 0.0f);
    const ir::Node* next = after(conv);
    if (next && next->is("Add")) {
      const Tensor* c = body.constant(next->inputs[next->inputs[0] == conv.outputs[0] ? 1 : 0]);
      if (c && c->size() == bias.size()) bias = c->reshaped(bias.dims());
      next = after(*next);
    }
    if (!next) return bias;
    if (next->is("Gelu")) problem.ints[key] = static_cast<int64_t>(Pointwise::gelu);
    if (next->is("Relu")) problem.ints[key] = static_cast<int64_t>(Pointwise::relu);
    if (next->is("Swish")) {
      problem.ints[key] = static_cast<int64_t>(Pointwise::swish);
      problem.floats[imm] = next->attrs.number("alpha", 1.0);
    }
    return bias;
  }
};

}  // namespace

std::optional<Lowered> lower_inverted(const BodyReader& reader, std::string* why) {
  std::vector<const ir::Node*> convs;
  for (const ir::Node* node : reader.nodes)
    if (node->is("Conv")) convs.push_back(node);
  if (convs.size() != 3)
    return *why = fmt::format("{} convolutions, not three", convs.size()), std::nullopt;
  for (const ir::Node* conv : convs)
    if (!reader.constant(conv->inputs[1])) return *why = "a weight is not constant", std::nullopt;
  const ir::Node *norm = find_node(reader, "LayerNormalization"), &depthwise = *convs[1];
  const Reader body{reader};
  Lowered out;
  const ir::ValueId x = norm ? norm->inputs[0] : convs[0]->inputs[0];
  const Shape& shape = reader.value(x).shape;
  if (norm)
    out.inputs.push_back(plain_operand(reader, x, 3));
  else
    out.inputs.push_back({.io = reader.input_index(x),
                          .axes = kNhwc,
                          .dims = {shape[0], shape[2], shape[3], shape[1]},
                          .innermost = 1});
  if (!window_ints(reader, depthwise, out.problem, why)) return {};
  for (const char* unused : {"group", "dilation_h", "dilation_w", "pad_bottom", "pad_right"})
    out.problem.ints.erase(unused);

  Tensor weight = turned(*reader.constant(convs[0]->inputs[1])),
         bias = body.tail(*convs[0], out.problem, "activation1", "imm1");
  if (norm) {
    if (!fold_norm(reader, *norm, weight, bias, why)) return {};
    out.problem.ints["normalize"] = 1;
    out.problem.floats["eps"] = norm->attrs.number("epsilon", 1e-5);
  }
  out.inputs.push_back(made_operand(weight, true));
  out.inputs.push_back(made_operand(bias, false));
  LoweredOperand window = plain_operand(reader, depthwise.inputs[1], -1);
  window.packed = true;
  out.inputs.push_back(std::move(window));
  out.inputs.push_back(
      made_operand(body.tail(depthwise, out.problem, "activation2", "imm2"), false));
  out.inputs.push_back(made_operand(turned(*reader.constant(convs[2]->inputs[1])), true));
  if (!lower_epilogue(reader, convs[2]->outputs[0], kNhwc, 1, out, why)) return {};
  return out;
}

}  // namespace vitrail
