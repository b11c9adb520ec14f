// SPDX-License-Identifier: Apache-2.0
#include "vitrail/check.h"

#include <algorithm>

#include "base/error.h"
#include "base/tensor.h"
#include "compile/replay.h"
#include "compile/rounded.h"
#include "oracle/oracle.h"
#include "plan/plan_file.h"

namespace vitrail {

namespace {
// In the order of the graph's inputs.
std::vector<Tensor> in_order(const ir::Graph& g, const NamedTensors& inputs) {
  std::vector<Tensor> out;
  for (ir::ValueId v : g.inputs) {
    const std::string& name = g.value(v).name;
    const auto found =
        std::find_if(inputs.begin(), inputs.end(), [&](const auto& t) { return t.first == name; });
    require(found != inputs.end(), Code::usage, "no tensor for the model's input '{}'",
            printable(name));
    out.push_back(found->second);
  }
  return out;
}
NamedTensors named(const ir::Graph& g, const std::vector<Tensor>& results) {
  NamedTensors out;
  for (size_t i = 0; i < results.size(); ++i)
    out.emplace_back(g.value(g.outputs[i]).name, results[i]);
  return out;
}
}  // namespace

NamedTensors run_reference(const Graph& graph, const NamedTensors& inputs, DType precision) {
  const ir::Graph& g = graph.impl();
  oracle::Options options;
  options.precision = precision;
  return named(g, oracle::run(g, in_order(g, inputs), options));
}
NamedTensors run_rounded(const Graph& graph, const NamedTensors& inputs, Rounding rounding,
                         DType precision) {
  const ir::Graph& g = graph.impl();
  return named(g, run_rounded(g, in_order(g, inputs), rounding, precision));
}

std::vector<StepDifference> compare_steps(const std::string& plan_path, const Graph& model,
                                          const NamedTensors& inputs, const StepOptions& options) {
  const ir::Graph& g = model.impl();
  return replay_steps(g, load_plan_file(plan_path).target("cpu"), in_order(g, inputs), options);
}

}  // namespace vitrail
