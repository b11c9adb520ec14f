// SPDX-License-Identifier: Apache-2.0
#include "import/onnx_import.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <climits>

#include "base/sniff.h"
#include "import/onnx_builder.h"
#include "import/op_history.h"

namespace vitrail {
namespace {
using onnx_import::Model;

// Protobuf's own limit on one message.
constexpr size_t kLargestModel = INT_MAX;

void parse(Bytes bytes, onnx::ModelProto& proto) {
  require(!bytes.empty(), Code::bad_input, "the file is empty");
  require(bytes.size() <= kLargestModel, Code::bad_input,
          "{} bytes, and an ONNX file ends at 2 GiB; save the weights as external data",
          bytes.size());
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  google::protobuf::io::CodedInputStream coded(&stream);
  const bool whole = proto.ParseFromCodedStream(&coded) && coded.ConsumedEntireMessage();
  // Text can happen to be valid protobuf, so a missing graph is a sign of another kind of file too.
  if (whole && proto.has_graph()) return;
  const std::string_view kind = content_kind(bytes);
  require(kind == kUnknownKind, Code::bad_input, "expected an ONNX model, found {}", kind);
  fail(Code::bad_input, "expected an ONNX model, found {}",
       whole ? "protobuf data without a graph"
             : "another kind of file or a damaged or truncated model");
}

void check_header(const onnx::ModelProto& proto) {
  require(proto.has_ir_version(), Code::bad_input, "the model does not say its IR version");
  require(proto.ir_version() >= kOldestIrVersion && proto.ir_version() <= kNewestIrVersion,
          Code::unsupported,
          "IR version {}; versions {} to {} are supported (ONNX opsets {} to {})",
          proto.ir_version(), kOldestIrVersion, kNewestIrVersion, kOldestOpset, kNewestOpset);
  require(proto.opset_import_size() > 0, Code::bad_input, "the model imports no opset");
}

std::string list_unsupported(const std::vector<UnsupportedNode>& nodes) {
  constexpr size_t kMostListed = 50;
  std::string out =
      fmt::format("{} node{} not supported: ", nodes.size(), nodes.size() == 1 ? " is" : "s are");
  for (size_t i = 0; i < nodes.size() && i < kMostListed; ++i) {
    const UnsupportedNode& n = nodes[i];
    out += fmt::format("{}'{}' ({}{}{}, opset {}, inputs {}): {}", i ? "; " : "", printable(n.node),
                       printable(n.domain), n.domain.empty() ? "" : ".", printable(n.op), n.opset,
                       n.inputs.empty() ? "none" : n.inputs, n.reason);
  }
  if (nodes.size() > kMostListed) out += fmt::format("; and {} more", nodes.size() - kMostListed);
  return out;
}

void keep_metadata(const onnx::ModelProto& proto, ir::Graph& graph) {
  for (const auto& entry : proto.metadata_props()) graph.metadata[entry.key()] = entry.value();
  std::string producer = proto.producer_name();
  if (!proto.producer_version().empty())
    producer += (producer.empty() ? "" : " ") + proto.producer_version();
  if (!producer.empty()) graph.metadata["onnx.producer"] = producer;
  graph.metadata["onnx.ir_version"] = std::to_string(proto.ir_version());
  for (const auto& import : proto.opset_import())
    if (onnx_import::canonical_domain(import.domain()).empty())
      graph.metadata["onnx.opset"] = std::to_string(import.version());
}

ir::Graph build(onnx::ModelProto& proto, const std::string& folder, const ImportOptions& options) {
  check_header(proto);
  Model model(proto, folder, options);
  ir::Graph graph = onnx_import::build_main_graph(model);
  keep_metadata(proto, graph);
  if (options.unsupported)
    *options.unsupported = std::move(model.unsupported);
  else
    require(model.unsupported.empty(), Code::unsupported, "{}",
            list_unsupported(model.unsupported));
  return graph;
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}
}  // namespace

ir::Graph import_onnx(const std::string& path, const ImportOptions& options) {
  onnx::ModelProto proto;
  auto file = MappedFile::open(path);
  return with_context("'" + printable(path) + "'", [&] {
    parse(file->bytes(), proto);
    file.reset();  // the mapped pages would count twice beside the parsed model
    return build(proto, folder_of(path), options);
  });
}

ir::Graph import_onnx_bytes(Bytes bytes, const std::string& folder, const ImportOptions& options) {
  onnx::ModelProto proto;
  parse(bytes, proto);
  return build(proto, folder, options);
}

}  // namespace vitrail
