// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <string>
#include <vector>

#include "import/onnx_import.h"
#include "import/onnx_tensor.h"
#include "onnx/onnx-ml.pb.h"

// How a parsed model becomes a graph; used by onnx_import.cc only.
namespace vitrail::onnx_import {

using Opsets = std::map<std::string, int64_t, std::less<>>;

/// "" for ONNX's own domain, under both of its names.
std::string canonical_domain(const std::string& domain);
/// Throws Error(bad_input) for a domain imported twice, Error(unsupported) for an opset of ONNX
/// outside the supported range.
Opsets read_opsets(const google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>& imports);

/// What all scopes of one model share.
struct Model {
  Model(onnx::ModelProto& proto, const std::string& folder, const ImportOptions& options);

  onnx::ModelProto& proto;
  const ImportOptions& options;
  TensorReader tensors;
  Opsets opsets;
  std::map<std::string, const onnx::FunctionProto*> functions;  ///< by "domain:name:overload"
  std::vector<UnsupportedNode> unsupported;
  int64_t expanded = 0;                            ///< nodes that came out of local functions
  size_t expanded_bytes = 0;                       ///< and their size in the file
  std::vector<const onnx::FunctionProto*> active;  ///< functions being expanded, outermost first
};

/// The model's main graph. Unsupported nodes are collected in `model`, not thrown.
ir::Graph build_main_graph(Model& model);

}  // namespace vitrail::onnx_import
