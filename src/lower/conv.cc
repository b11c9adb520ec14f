// SPDX-License-Identifier: Apache-2.0
// Convolutions: dense (family conv), one filter a channel (depthwise), transposed (conv_transpose).
// A bias is an Add after the node (pass split_bias), so it is an epilogue like any other.
#include "lower/families.h"

namespace vitrail {
namespace {
const std::vector<int> kNhwc = {0, 2, 3,
                                1};  // problem extents [n, h, w, c] of a value [n, c, h, w]

std::optional<Lowered> lower_window(const BodyReader& reader, const ir::Node& node,
                                    bool dense_channels, std::string* why) {
  const Tensor* weight = reader.constant(node.inputs[1]);
  if (!weight || weight->dtype() != DType::f32)
    return *why = "the weight is not a float32 constant", std::nullopt;
  if (node.inputs.size() > 2) return *why = "the bias was not split off", std::nullopt;
  const Shape& x = reader.value(node.inputs[0]).shape;
  if (x.size() != 4) return *why = fmt::format("{}-D window", x.size() - 2), std::nullopt;
  Lowered out;
  if (!window_ints(reader, node, out.problem, why)) return {};
  out.inputs.push_back({.io = reader.input_index(node.inputs[0]),
                        .axes = kNhwc,
                        .dims = {x[0], x[2], x[3], x[1]},
                        .innermost = dense_channels ? 1 : -1});
  LoweredOperand w = plain_operand(reader, node.inputs[1], -1);
  w.packed = true;
  out.inputs.push_back(std::move(w));
  if (!lower_epilogue(reader, node.outputs[0], kNhwc, 1, out, why)) return {};
  return out;
}
}  // namespace

bool window_ints(const BodyReader& reader, const ir::Node& node, Problem& problem,
                 std::string* why) {
  const Shape& x = reader.value(node.inputs[0]).shape;
  const Shape& w = reader.value(node.inputs[1]).shape;
  auto& ints = problem.ints;
  const auto strides = node.attrs.integers("strides", std::vector<int64_t>{1, 1});
  const auto dilations = node.attrs.integers("dilations", std::vector<int64_t>{1, 1});
  auto pads = node.attrs.integers("pads", std::vector<int64_t>{0, 0, 0, 0});
  const std::string mode = node.attrs.text("auto_pad", "NOTSET");
  if (mode == "SAME_UPPER" || mode == "SAME_LOWER") {
    for (size_t i = 0; i < 2; ++i) {
      if (!x[2 + i].is_constant()) return *why = "auto_pad on a symbolic extent", false;
      const int64_t in = x[2 + i].constant(), window = (w[2 + i].constant() - 1) * dilations[i] + 1;
      const int64_t out = (in + strides[i] - 1) / strides[i];
      const int64_t total = std::max<int64_t>(0, (out - 1) * strides[i] + window - in);
      pads[i] = mode == "SAME_UPPER" ? total / 2 : total - total / 2;
      pads[2 + i] = total - pads[i];
    }
  } else if (mode == "VALID") {
    pads = {0, 0, 0, 0};
  }
  ints["stride_h"] = strides[0], ints["stride_w"] = strides[1];
  ints["dilation_h"] = dilations[0], ints["dilation_w"] = dilations[1];
  ints["pad_top"] = pads[0], ints["pad_left"] = pads[1], ints["pad_bottom"] = pads[2],
  ints["pad_right"] = pads[3];
  ints["group"] = node.attrs.integer("group", 1);
  return true;
}

std::optional<Lowered> lower_conv(const BodyReader& reader, std::string* why) {
  const ir::Node* node = find_node(reader, "Conv");
  if (!node) return *why = "no Conv in the body", std::nullopt;
  return lower_window(reader, *node, false, why);
}

std::optional<Lowered> lower_depthwise(const BodyReader& reader, std::string* why) {
  const ir::Node* node = find_node(reader, "Conv");
  if (!node) return *why = "no Conv in the body", std::nullopt;
  return lower_window(reader, *node, true, why);
}

std::optional<Lowered> lower_conv_transpose(const BodyReader& reader, std::string* why) {
  const ir::Node* node = find_node(reader, "ConvTranspose");
  if (!node) return *why = "no ConvTranspose in the body", std::nullopt;
  if (node->attrs.has("output_shape") || node->attrs.text("auto_pad", "NOTSET") != "NOTSET")
    return *why = "output_shape or auto_pad", std::nullopt;
  return lower_window(reader, *node, true, why);
}

}  // namespace vitrail
