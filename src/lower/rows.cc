// SPDX-License-Identifier: Apache-2.0
// Families that work on rows of the last axis: layernorm and softmax.
#include "lower/families.h"

namespace vitrail {
namespace {
std::vector<int> in_order(size_t rank) {
  std::vector<int> axes;
  for (size_t i = 0; i < rank; ++i) axes.push_back(static_cast<int>(i));
  return axes;
}
// The problem's axes with `axis` last.
std::vector<int> with_last(size_t rank, int axis) {
  std::vector<int> axes;
  for (int i = 0; i < static_cast<int>(rank); ++i)
    if (i != axis) axes.push_back(i);
  axes.push_back(axis);
  return axes;
}
Shape permuted(const Shape& shape, const std::vector<int>& axes) {
  Shape out;
  for (int a : axes) out.push_back(shape[static_cast<size_t>(a)]);
  return out;
}
}  // namespace

std::optional<Lowered> lower_layernorm(const BodyReader& reader, std::string* why) {
  const ir::Node* node = find_node(reader, "LayerNormalization");
  if (!node) return *why = "no LayerNormalization in the body", std::nullopt;
  const Shape& x = reader.value(node->inputs[0]).shape;
  const int last = static_cast<int>(x.size()) - 1;
  if (normalize_axis(node->attrs.integer("axis", -1), x.size(), "axis") != last)
    return *why = "normalizes over more than the last axis", std::nullopt;
  for (size_t i = 1; i < node->outputs.size(); ++i)
    if (node->outputs[i].valid()) return *why = "mean or deviation is used", std::nullopt;
  Lowered out;
  out.inputs.push_back(plain_operand(reader, node->inputs[0], last));
  for (size_t i = 1; i < node->inputs.size(); ++i)
    if (node->inputs[i].valid()) out.inputs.push_back(plain_operand(reader, node->inputs[i], 0));
  out.problem.ints["has_scale"] = node->inputs.size() > 1 && node->inputs[1].valid();
  out.problem.ints["has_bias"] = node->inputs.size() > 2 && node->inputs[2].valid();
  out.problem.floats["eps"] = node->attrs.number("epsilon", 1e-5);
  if (!lower_epilogue(reader, node->outputs[0], in_order(x.size()), last, out, why)) return {};
  return out;
}

std::optional<Lowered> lower_softmax(const BodyReader& reader, std::string* why) {
  const ir::Node* node = find_node(reader, "Softmax");
  if (!node) return *why = "no Softmax in the body", std::nullopt;
  const Shape& x = reader.value(node->inputs[0]).shape;
  const int axis =
      static_cast<int>(normalize_axis(node->attrs.integer("axis", -1), x.size(), "axis"));
  const std::vector<int> axes = with_last(x.size(), axis);
  Lowered out;
  out.inputs.push_back({.io = reader.input_index(node->inputs[0]),
                        .axes = axes,
                        .dims = permuted(x, axes),
                        .innermost = axis});
  if (!lower_epilogue(reader, node->outputs[0], axes, axis, out, why)) return {};
  return out;
}

}  // namespace vitrail
