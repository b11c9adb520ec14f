// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "vitrail/error.h"
#include "vitrail/tensor.h"

namespace vitrail {

namespace ir {
class Graph;
}

using Attribute = std::variant<int64_t, double, std::string, std::vector<int64_t>,
                               std::vector<double>, std::vector<std::string>, Tensor>;
using Attributes = std::map<std::string, Attribute>;

/// A value of a Graph: an input, a constant or the output of a node.
struct Var {
  uint32_t index = UINT32_MAX;
};

struct OnnxExport {
  int opset = 18;
  bool external_data = false;  ///< weights in FILE.data beside the model
  bool fused = false;          ///< keep fusions, in domain ai.vitrail, for a viewer
};

/// A model before it is built: made op by op, or read from ONNX.
///
///     vitrail::Graph g("mlp");
///     auto x = g.input("x", vitrail::DType::f32, {"N", "8"});
///     g.output("y", g.op("Relu", {g.op("MatMul", {x, g.constant("w", weight)})}));
///     g.export_onnx("mlp.onnx");
class Graph {
 public:
  explicit Graph(const std::string& name = "model");
  ~Graph();
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;

  /// Throws Error naming node, op and what to do; `shapes` fixes extents of inputs (-1: as they
  /// are).
  static Graph import_onnx(const std::string& path, const std::map<std::string, Dims>& shapes = {});
  /// The graph that a plan was built from, as it was imported. Throws Error(usage) when the plan
  /// does not keep it (`--no-retune`), Error(bad_input) when it is damaged.
  static Graph from_plan(const std::string& path);
  /// The text form (docs/design.md) back to a graph.
  static Graph parse(const std::string& text);
  void export_onnx(const std::string& path, const OnnxExport& options = {}) const;
  std::string text(size_t largest_constant = 64) const;

  /// Extents are numbers or symbols: {"N", "3", "224", "224"}.
  Var input(const std::string& name, DType dtype, const std::vector<std::string>& dims);
  Var constant(const std::string& name, Tensor tensor);
  /// First output of an ONNX op in its newest form, shapes inferred. The name is put behind the
  /// scopes that are open. Throws Error(bad_input) when the inputs do not fit the op.
  Var op(const std::string& type, const std::vector<Var>& inputs, const Attributes& attributes = {},
         const std::string& name = {});
  std::vector<Var> op(const std::string& type, const std::vector<Var>& inputs,
                      const Attributes& attributes, int outputs, const std::string& name = {});
  void output(const std::string& name, Var value);
  std::string shape_of(Var value) const;  ///< "[N,197,384]"

  /// Module path of the nodes made while it lives: Scope s(g, "stage0") gives "stage0/...".
  class Scope {
   public:
    Scope(Graph& graph, const std::string& name);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Graph& graph_;
    size_t length_;
  };

  /// Task, preprocessing, labels and whatever the file carries (docs/metadata.md).
  std::map<std::string, std::string>& metadata();
  const std::map<std::string, std::string>& metadata() const;

  struct TensorInfo {
    std::string name;
    DType dtype = DType::f32;
    std::vector<std::string> dims;
  };
  std::vector<TensorInfo> inputs() const;
  std::vector<TensorInfo> outputs() const;
  size_t node_count() const;
  /// Number of nodes of each op.
  std::map<std::string, int> op_counts() const;
  uint64_t weight_bytes() const;
  const std::vector<std::string>& warnings() const;

  /// The library's own form of it.
  const ir::Graph& impl() const { return *graph_; }

 private:
  explicit Graph(std::unique_ptr<ir::Graph> graph);
  std::unique_ptr<ir::Graph> graph_;
  std::string scope_;
};

}  // namespace vitrail
