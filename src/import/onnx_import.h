// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "ir/graph.h"

namespace vitrail {

/// A node that cannot be imported.
struct UnsupportedNode {
  std::string node, op, domain;
  int64_t opset = 0;
  std::string inputs;  ///< "f32[1,3,224,224], ?": what is known of its inputs
  std::string reason;  ///< "ONNX has no such op; did you mean 'Relu'?"
};

struct ImportOptions {
  /// Extents for inputs, by name; -1 leaves one as the model has it. Replaces what the model says.
  std::map<std::string, Dims> input_shapes;
  /// For inspection: when set, unsupported nodes are listed here instead of failing the import, and
  /// stand in the graph as nodes whose op has no reference; shapes behind them may be unknown (then
  /// they are those the model declares, or empty).
  std::vector<UnsupportedNode>* unsupported = nullptr;
};

/// Reads an ONNX model, opset 7 to 28, into a graph in which every op has the newest form this
/// project knows, every type and shape is inferred, local functions are expanded and bodies of If
/// and Loop are closed (they read nothing from outside but their inputs).
///
/// Dynamic extents become symbols: named after their dim_param (letters, digits and '_'), otherwise
/// `<input>_<axis>`. Names of values and nodes are the model's; every node's `sources` names the
/// ONNX node it comes from. metadata_props go into Graph::metadata, with `onnx.producer`,
/// `onnx.opset` and `onnx.ir_version`. Declared types that contradict what is inferred become
/// warnings.
///
/// Throws Error: io (file), bad_input (damaged, contradictory or not ONNX), unsupported (all ops
/// and attributes this version cannot take, in one message), usage (input_shapes).
ir::Graph import_onnx(const std::string& path, const ImportOptions& options = {});
/// The same from memory; external data is looked for in `folder` ("" refuses it).
ir::Graph import_onnx_bytes(Bytes bytes, const std::string& folder = {},
                            const ImportOptions& options = {});

}  // namespace vitrail
