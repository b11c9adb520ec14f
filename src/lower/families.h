// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "lower/lower.h"

// The lowering of each family, one file each.
namespace vitrail {

std::optional<Lowered> lower_attention(const BodyReader& reader, std::string* why);
std::optional<Lowered> lower_conv(const BodyReader& reader, std::string* why);
std::optional<Lowered> lower_conv_transpose(const BodyReader& reader, std::string* why);
std::optional<Lowered> lower_depthwise(const BodyReader& reader, std::string* why);
std::optional<Lowered> lower_gemm(const BodyReader& reader, std::string* why);
std::optional<Lowered> lower_gram(const BodyReader& reader, std::string* why);
std::optional<Lowered> lower_inverted(const BodyReader& reader, std::string* why);
std::optional<Lowered> lower_layernorm(const BodyReader& reader, std::string* why);
std::optional<Lowered> lower_pad(const BodyReader& reader, std::string* why);
std::optional<Lowered> lower_pointwise(const BodyReader& reader, std::string* why);
std::optional<Lowered> lower_positional(const BodyReader& reader, std::string* why);
std::optional<Lowered> lower_reduce(const BodyReader& reader, std::string* why);
std::optional<Lowered> lower_softmax(const BodyReader& reader, std::string* why);
std::optional<Lowered> lower_spectral(const BodyReader& reader, std::string* why);

/// The first node of the body with this op, or null.
const ir::Node* find_node(const BodyReader& reader, std::string_view op);
/// Attributes of Conv and ConvTranspose as the problem's ints; false when the window is not 2-D.
bool window_ints(const BodyReader& reader, const ir::Node& node, Problem& problem,
                 std::string* why);

/// An operand that is made while lowering, with all its axes in order.
LoweredOperand made_operand(Tensor constant, bool packed);
/// norm(x) * s + t before x W + b, W [c, e] and b [e] float32: W becomes s W, b becomes b + t W,
/// exact in real arithmetic. False and `why` when the norm's scale or shift is no constant row.
bool fold_norm(const BodyReader& reader, const ir::Node& norm, Tensor& weight, Tensor& bias,
               std::string* why);

}  // namespace vitrail
