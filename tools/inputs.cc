// SPDX-License-Identifier: Apache-2.0
#include "tools/inputs.h"

#include <fmt/core.h>

#include "tools/cli.h"
#include "vitrail/random.h"
#include "vitrail/tensor_file.h"

namespace vitrail::cli {
namespace {

NamedTensors random_inputs(const LoadedPlan& plan,
                           const std::map<std::string, ShapeRange>& shapes) {
  NamedTensors out;
  for (const TensorSpec& spec : plan.inputs()) {
    const auto given = shapes.find(spec.name);
    out.emplace_back(
        spec.name,
        random_tensor(spec.dtype, given == shapes.end() ? spec.opt : given->second.opt, 1));
  }
  return out;
}

// The names of --shapes are checked here for plans; a build checks them itself.
void check_names(const LoadedPlan& plan, const std::map<std::string, ShapeRange>& shapes) {
  for (const auto& [name, range] : shapes) {
    std::string valid;
    bool known = false;
    for (const TensorSpec& spec : plan.inputs()) {
      known |= spec.name == name;
      valid += fmt::format("{}'{}'", valid.empty() ? "" : ", ", printable(spec.name));
    }
    if (!known)
      throw Error(Code::usage,
                  fmt::format("--shapes names the input '{}'; the plan's inputs are {}",
                              printable(name), valid));
  }
}

}  // namespace

PlanToRun load_to_run(const std::string& model, const std::string& inputs,
                      const std::vector<std::string>& shapes, int threads) {
  auto ranges = parse_shapes(shapes);
  NamedTensors tensors = inputs.empty() ? NamedTensors{} : read_tensors(inputs);
  const bool is_built = is_plan(model);
  if (!is_built) add_shapes(tensors, ranges);
  LoadedPlan plan = is_built ? LoadedPlan::load(model)
                             : build_in_memory(Graph::import_onnx(model), ranges, threads);
  check_names(plan, ranges);
  tensors = tensors.empty() ? random_inputs(plan, ranges) : as_taken(plan, std::move(tensors));
  return {std::move(plan), std::move(tensors)};
}

void set_inputs(Session& session, const NamedTensors& inputs) {
  for (const auto& [name, t] : inputs) session.set_input(name, t.dtype(), t.dims(), t.raw());
}

}  // namespace vitrail::cli
