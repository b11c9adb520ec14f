// SPDX-License-Identifier: Apache-2.0
// MatMul, also behind a layer norm, and Conv with a 1x1 window, as gemm
// (src/kernels/gemm/family.h).
#include <algorithm>

#include "lower/families.h"

namespace vitrail {
namespace {

std::optional<Lowered> lower_vector(const BodyReader& reader, const ir::Node& node,
                                    std::string* why) {
  Lowered out;
  out.inputs.push_back({.io = reader.input_index(node.inputs[0]),
                        .axes = {-1, 0},
                        .dims = {1, reader.value(node.inputs[0]).shape[0]},
                        .innermost = 0});
  LoweredOperand weight = plain_operand(reader, node.inputs[1], -1);
  weight.packed = true;
  out.inputs.push_back(std::move(weight));
  if (!lower_epilogue(reader, node.outputs[0], {-1, 0}, 0, out, why)) return {};
  return out;
}

// MatMul(A [batch..., m, k], B [k, n] constant or [batch..., k, n]); a vector A is a matrix of one
// row.
std::optional<Lowered> lower_matmul(const BodyReader& reader, const ir::Node& node,
                                    std::string* why) {
  const Shape &a = reader.value(node.inputs[0]).shape, &b = reader.value(node.inputs[1]).shape;
  const Shape& c = reader.value(node.outputs[0]).shape;
  if (a.size() == 1 && b.size() == 2 && reader.constant(node.inputs[1]))
    return lower_vector(reader, node, why);
  if (a.size() < 2 || b.size() < 2 || c.size() < a.size())
    return *why = "a vector operand", std::nullopt;
  const size_t rank = c.size();
  // Batch extents align from the right and broadcast; the last two are matrix extents.
  const auto operand = [&](ir::ValueId v, const Shape& shape, bool transposed) {
    LoweredOperand o{.io = reader.input_index(v), .axes = {}, .dims = {}};
    const size_t skip = rank - shape.size();
    for (size_t i = 0; i < rank; ++i) {
      const bool batch = i + 2 < rank;
      const bool absent = i < skip || (batch && shape[i - skip].is(1) && !c[i].is(1));
      o.axes.push_back(absent ? -1 : static_cast<int>(i - skip));
      o.dims.push_back(batch ? c[i] : absent ? Expr(1) : shape[i - skip]);
    }
    o.innermost = static_cast<int>(shape.size()) - (transposed ? 2 : 1);
    return o;
  };
  Lowered out;
  out.inputs.push_back(operand(node.inputs[0], a, false));
  const bool packed = reader.constant(node.inputs[1]) != nullptr && b.size() == 2;
  if (packed) {
    LoweredOperand weight = plain_operand(reader, node.inputs[1], -1);
    weight.packed = true;
    out.inputs.push_back(std::move(weight));
  } else {
    if (reader.constant(node.inputs[1]))
      return *why = "a constant of rank above 2 on the right", std::nullopt;
    out.inputs.push_back(operand(node.inputs[1], b, false));
    out.inputs.back().innermost = -1;  // either matrix axis may be the dense one; the kernel says
  }
  if (out.inputs[0].io < 0 || out.inputs[1].io < 0)
    return *why = "an operand made inside the body", std::nullopt;
  std::vector<int> axes;
  for (size_t i = 0; i < rank; ++i) axes.push_back(static_cast<int>(i));
  if (!lower_epilogue(reader, node.outputs[0], axes, static_cast<int>(rank) - 1, out, why))
    return {};
  return out;
}

// Conv 1x1 on [n, c, h, w]: rows are pixels, problem extents [n, h, w, c].
std::optional<Lowered> lower_conv1x1(const BodyReader& reader, const ir::Node& node,
                                     std::string* why) {
  const Tensor* weight = reader.constant(node.inputs[1]);
  const Shape& x = reader.value(node.inputs[0]).shape;
  if (!weight || weight->dtype() != DType::f32)
    return *why = "the weight is not a float32 constant", std::nullopt;
  if (!x[1].is_constant()) return *why = "the channel count is not constant", std::nullopt;
  const std::vector<int> nhwc = {0, 2, 3, 1};
  Lowered out;
  out.inputs.push_back({.io = reader.input_index(node.inputs[0]),
                        .axes = nhwc,
                        .dims = {x[0], x[2], x[3], x[1]},
                        .innermost = 1});
  // ONNX stores [o, c, 1, 1]; gemm takes [c, o].
  const int64_t o = weight->dims()[0], c = weight->dims()[1];
  Tensor transposed(DType::f32, {c, o});
  for (int64_t i = 0; i < o; ++i)
    for (int64_t k = 0; k < c; ++k)
      transposed.mutable_data<float>()[k * o + i] = weight->data<float>()[i * c + k];
  out.inputs.push_back(
      {.io = -1, .axes = {0, 1}, .dims = {c, o}, .packed = true, .constant = transposed});
  if (!lower_epilogue(reader, node.outputs[0], nhwc, 1, out, why)) return {};
  return out;
}

// LayerNormalization over the last axis, MatMul by a constant matrix (pass fuse_norm_product).
std::optional<Lowered> lower_normalized(const BodyReader& reader, const ir::Node& norm,
                                        const ir::Node& node, std::string* why) {
  const Tensor* matrix = reader.constant(node.inputs[1]);
  const auto rank = static_cast<int>(reader.value(norm.inputs[0]).shape.size());
  if (!matrix || matrix->rank() != 2 || matrix->dtype() != DType::f32)
    return *why = "the weight is not a float32 matrix", std::nullopt;
  Tensor weight = *matrix, shift(DType::f32, {weight.dims()[1]});
  std::fill_n(shift.mutable_data<float>(), shift.size(), 0.0f);
  if (!fold_norm(reader, norm, weight, shift, why)) return {};
  Lowered out;
  out.problem.ints["normalize"] = 1;
  out.problem.floats["eps"] = norm.attrs.number("epsilon", 1e-5);
  out.inputs.push_back(plain_operand(reader, norm.inputs[0], rank - 1));
  out.inputs.push_back(made_operand(std::move(weight), true));
  out.inputs.push_back(made_operand(std::move(shift), false));
  std::vector<int> axes;
  for (int i = 0; i < rank; ++i) axes.push_back(i);
  if (!lower_epilogue(reader, node.outputs[0], axes, rank - 1, out, why)) return {};
  return out;
}

}  // namespace

std::optional<Lowered> lower_gemm(const BodyReader& reader, std::string* why) {
  if (const ir::Node* norm = find_node(reader, "LayerNormalization"))
    if (const ir::Node* node = find_node(reader, "MatMul"))
      return lower_normalized(reader, *norm, *node, why);
  if (const ir::Node* node = find_node(reader, "MatMul")) return lower_matmul(reader, *node, why);
  if (const ir::Node* node = find_node(reader, "Conv")) return lower_conv1x1(reader, *node, why);
  return *why = "neither MatMul nor Conv in the body", std::nullopt;
}

}  // namespace vitrail
