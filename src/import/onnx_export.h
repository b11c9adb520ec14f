// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

#include "import/op_history.h"
#include "ir/graph.h"

namespace vitrail {

struct ExportOptions {
  /// ONNX opset to write, kOldestOpset to kNewestOpset. Ops newer than it are taken apart where
  /// that is possible.
  int opset = 18;
  /// Constants of `external_threshold` bytes and more go into the file `<path>.data`. Done without
  /// being asked when the model would pass protobuf's limit of 2 GiB.
  bool external_data = false;
  size_t external_threshold = 1024;
  /// Fusions stay single nodes of the domain ai.vitrail, for viewers; such a file is no runnable
  /// ONNX model. Otherwise the nodes of each fusion's first body are written.
  bool keep_fusions = false;
  /// The file the graph came from, which must not be the one written; may be empty.
  std::string source;
};

/// Writes `graph` as an ONNX model, atomically. Symbols become dim_params, Graph::metadata goes to
/// metadata_props but for keys that begin with "onnx.". Throws Error: usage (opset, source),
/// unsupported (naming the node that opset cannot express), io.
void export_onnx(const ir::Graph& graph, const std::string& path,
                 const ExportOptions& options = {});
/// The same as bytes, without external data; Error(unsupported) above 2 GiB.
std::string export_onnx_bytes(const ir::Graph& graph, const ExportOptions& options = {});

}  // namespace vitrail
