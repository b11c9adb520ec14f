// SPDX-License-Identifier: Apache-2.0
// softmax(scale * Q K^T + mask) V as family attention. The body is what the pass fuse_attention
// leaves: MatMul(q, k or its transpose), Mul by a scalar, Add of a mask, Softmax, MatMul with v.
#include "lower/families.h"

namespace vitrail {

std::optional<Lowered> lower_attention(const BodyReader& reader, std::string* why) {
  const ir::Node* softmax = find_node(reader, "Softmax");
  if (!softmax) return *why = "no Softmax in the body", std::nullopt;
  // Upwards from the softmax: mask, scale, then the first MatMul.
  ir::ValueId mask = ir::kNoValue;
  double scale = 1;
  const ir::Node* at = reader.body.producer(softmax->inputs[0]);
  while (at && !at->is("MatMul")) {
    const Tensor* right = at->inputs.size() > 1 ? reader.constant(at->inputs[1]) : nullptr;
    if (at->is("Mul") && right && right->size() == 1) {
      scale *= right->number_at(0);
    } else if (at->is("Div") && right && right->size() == 1) {
      scale /= right->number_at(0);
    } else if (at->is("Add") && !mask.valid() && scale == 1) {
      const size_t scores =
          reader.body.producer(at->inputs[0]) ? 0 : 1;  // the other one comes from outside
      mask = at->inputs[1 - scores];
      at = reader.body.producer(at->inputs[scores]);
      continue;
    } else {
      return *why = fmt::format("{} between the products", at->type()), std::nullopt;
    }
    at = reader.body.producer(at->inputs[0]);
  }
  if (!at) return *why = "no MatMul before the Softmax", std::nullopt;
  const ir::Node* last = nullptr;
  for (const ir::Node* node : reader.nodes)
    if (node->is("MatMul") && node->inputs[0] == softmax->outputs[0]) last = node;
  if (!last) return *why = "no MatMul after the Softmax", std::nullopt;

  const Shape& out_shape = reader.value(last->outputs[0]).shape;
  const size_t rank = out_shape.size();
  // A transposed operand inside the body is read through: its axes, swapped.
  const auto operand = [&](ir::ValueId v, bool want_swapped) {
    bool swapped = false;
    const ir::Node* producer = reader.body.producer(v);
    if (producer && producer->is("Transpose")) {
      v = producer->inputs[0];
      swapped = true;
    }
    LoweredOperand o{.io = reader.input_index(v), .axes = {}, .dims = {}};
    const Shape& shape = reader.value(v).shape;
    if (shape.size() != rank || o.io < 0) return *why = "operands of different rank", o.io = -1, o;
    for (size_t i = 0; i < rank; ++i) {
      const bool batch = i + 2 < rank;
      const size_t axis = batch || swapped == want_swapped ? i : 2 * rank - 3 - i;
      const bool absent = batch && shape[axis].is(1) && !out_shape[axis].is(1);
      o.axes.push_back(absent ? -1 : static_cast<int>(axis));
      o.dims.push_back(batch ? out_shape[i] : shape[axis]);
    }
    o.innermost = o.axes.back();
    return o;
  };
  Lowered out;
  out.inputs.push_back(operand(at->inputs[0], false));
  out.inputs.push_back(operand(at->inputs[1], true));  // K^T in the product, [t, d] for the kernel
  out.inputs.push_back(operand(last->inputs[1], false));
  for (const LoweredOperand& o : out.inputs)
    if (o.io < 0) return {};
  out.problem.floats["scale"] = scale;
  out.problem.ints["has_mask"] = mask.valid();
  if (mask.valid()) {
    LoweredOperand m{.io = reader.input_index(mask), .axes = {}, .dims = {}};
    if (m.io < 0) return *why = "the mask is made inside the body", std::nullopt;
    const Shape &shape = reader.value(mask).shape, &scores = reader.value(softmax->inputs[0]).shape;
    for (size_t i = 0; i < rank; ++i) {
      const size_t skip = rank - shape.size();
      const bool absent = i < skip || (shape[i - skip].is(1) && !scores[i].is(1));
      m.axes.push_back(absent ? -1 : static_cast<int>(i - skip));
      m.dims.push_back(scores[i]);
    }
    out.inputs.push_back(std::move(m));
  }
  std::vector<int> axes;
  for (size_t i = 0; i < rank; ++i) axes.push_back(static_cast<int>(i));
  if (!lower_epilogue(reader, last->outputs[0], axes, static_cast<int>(rank) - 1, out, why))
    return {};
  return out;
}

}  // namespace vitrail
