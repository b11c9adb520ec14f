// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "zoo/zoo.h"

// One function a family, and what their definitions share.
namespace vitrail::zoo {

Graph define_cvt(const Model& model, const Weights& weights, const InputSize& size);
Graph define_mst_plus_plus(const Model& model, const Weights& weights, const InputSize& size);

/// A graph under construction with its parameters: layers named as in PyTorch. A parameter's
/// official name is the module path with dots; node names have slashes.
class Net {
 public:
  Net(Graph& graph, const Weights& weights) : g(graph), weights_(weights) {}

  Var parameter(const std::string& name, const Dims& dims) {
    return g.constant(name, weights_.get(name, dims));
  }
  Var ints(const std::vector<int64_t>& values);
  Var number(float value);
  Var reshape(Var x, const std::vector<int64_t>& to) { return g.op("Reshape", {x, ints(to)}); }
  Var transpose(Var x, const std::vector<int64_t>& perm) {
    return g.op("Transpose", {x}, {{"perm", perm}});
  }
  /// nn.Linear: weight [out, in], optional bias [out].
  Var linear(Var x, const std::string& name, int64_t in, int64_t out, bool bias = true);
  /// nn.Conv2d.
  struct Window {
    int64_t kernel = 3, stride = 1, padding = 1, groups = 1;
    bool bias = true;
  };
  Var conv(Var x, const std::string& name, int64_t in, int64_t out, const Window& window);
  Var layer_norm(Var x, const std::string& name, int64_t width, double eps = 1e-5);

  Graph& g;

 private:
  const Weights& weights_;
};

/// The size asked for as extents of the input; symbols "N", "H", "W" where nothing is fixed.
std::vector<std::string> input_dims(const Model& model, const InputSize& size);

}  // namespace vitrail::zoo
