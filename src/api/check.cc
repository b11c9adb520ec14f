// SPDX-License-Identifier: Apache-2.0
#include "vitrail/check.h"

#include <algorithm>

#include "base/error.h"
#include "base/tensor.h"
#include "compare/difference.h"
#include "import/npy.h"
#include "import/npz.h"
#include "import/weights.h"
#include "oracle/oracle.h"

namespace vitrail {

NamedTensors run_reference(const Graph& graph, const NamedTensors& inputs, DType precision) {
  const ir::Graph& g = graph.impl();
  std::vector<Tensor> in;
  for (ir::ValueId v : g.inputs) {
    const std::string& name = g.value(v).name;
    const auto found = std::find_if(inputs.begin(), inputs.end(), [&](const auto& t) { return t.first == name; });
    require(found != inputs.end(), Code::usage, "no tensor for the model's input '{}'", printable(name));
    in.push_back(found->second);
  }
  const std::vector<Tensor> results = oracle::run(g, in, {.precision = precision, .observe = {}});
  NamedTensors out;
  for (size_t i = 0; i < results.size(); ++i) out.emplace_back(g.value(g.outputs[i]).name, results[i]);
  return out;
}

NamedTensors read_tensors(const std::string& path) {
  if (path.ends_with(".npy")) return {{"data", load_npy(path)}};
  return load_weights(path).tensors();
}
void write_tensors(const std::string& path, const NamedTensors& tensors) {
  if (path.ends_with(".npy")) {
    require(tensors.size() == 1, Code::usage, "'{}' holds one tensor, {} are to be written; use .npz", printable(path), tensors.size());
    return save_npy(path, tensors[0].second);
  }
  require(path.ends_with(".npz"), Code::usage, "'{}': tensors are written as .npz or .npy", printable(path));
  save_npz(path, tensors);
}

Tensor random_tensor(DType dtype, const Dims& dims, uint64_t seed, double low, double high) {
  return random_uniform(dtype, dims, seed, low, high);
}

}  // namespace vitrail
