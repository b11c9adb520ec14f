// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <string_view>

namespace vitrail {

/// Oldest and newest ONNX opset that models may be written in.
constexpr int kOldestOpset = 7, kNewestOpset = 28;
/// Newest ONNX file format ("IR version") understood; the oldest is 3, where opset 7 begins.
constexpr int kOldestIrVersion = 3, kNewestIrVersion = 14;

/// The opset that introduced an op of ONNX's own domain; 0 when ONNX has no such op.
int onnx_op_since(std::string_view op);
/// The name nearest to `op` among ONNX's ops, when it is near enough to be a slip; else empty.
std::string nearest_onnx_op(std::string_view op);

}  // namespace vitrail
