// SPDX-License-Identifier: Apache-2.0
#include "tools/layers.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tools/cli.h"

namespace vitrail::cli {

nlohmann::ordered_json compare_layers(const Side& plan, const Side& model,
                                      const NamedTensors& inputs, const StepOptions& options,
                                      size_t worst) {
  if (plan.kind != Side::Kind::plan ||
      (model.kind != Side::Kind::reference && model.kind != Side::Kind::onnxruntime))
    throw Error(
        Code::usage,
        fmt::format(
            "--layers compares a plan with the ONNX model it was built from; found '{}' and '{}'",
            plan.name, model.name));
  std::vector<StepDifference> steps = compare_steps(plan.path, model_of(model), inputs, options);
  const auto compared = static_cast<size_t>(
      std::count_if(steps.begin(), steps.end(), [](const auto& s) { return s.compared; }));
  nlohmann::ordered_json told = nlohmann::ordered_json::array();
  for (const StepDifference& s : steps)
    told.push_back({{"index", s.index},
                    {"step", s.step},
                    {"kernel", s.kernel},
                    {"sources", s.sources},
                    {"value", s.value},
                    {"round", s.round},
                    {"compared", s.compared},
                    {"restarted", s.restarted},
                    {"alone",
                     {{"abs_max", s.alone.abs.max},
                      {"rel_max", s.alone.rel.max},
                      {"sqnr_db", s.alone.sqnr_db},
                      {"outside", s.alone.outside}}},
                    {"accumulated",
                     {{"abs_max", s.accumulated.abs.max},
                      {"rel_max", s.accumulated.rel.max},
                      {"sqnr_db", s.accumulated.sqnr_db}}}});

  fmt::print("steps of {}: {} of {} compared, each fed with the reference's values\n", plan.name,
             compared, steps.size());
  std::erase_if(steps, [](const StepDifference& s) { return !s.compared; });
  if (worst > 0) {
    // By noise relative to the value's own size: absolute errors would only find the largest
    // values.
    std::stable_sort(steps.begin(), steps.end(), [](const auto& a, const auto& b) {
      return a.alone.sqnr_db < b.alone.sqnr_db;
    });
    steps.resize(std::min(worst, steps.size()));
    fmt::print("the {} with the least SQNR:\n", steps.size());
  }
  fmt::print("  {:>4} {:>10} {:>10} {:>8} {:>8}  {:>12} {:>8}  {:<28} {}\n", "step", "abs max",
             "abs mean", "SQNR dB", "beyond", "whole: abs", "SQNR dB", "kernel", "step: nodes");
  for (const StepDifference& s : steps) {
    std::string nodes;
    for (size_t i = 0; i < s.sources.size() && i < 3; ++i)
      nodes += (i ? ", " : "") + printable(s.sources[i]);
    if (s.sources.size() > 3) nodes += fmt::format(", {} more", s.sources.size() - 3);
    fmt::print(
        "  {:>4} {:>10.3g} {:>10.3g} {:>8.1f} {:>8}  {:>12.3g} {:>8.1f}  {:<28} {}: {}{}{}\n",
        s.index, s.alone.abs.max, s.alone.abs.mean, s.alone.sqnr_db, s.alone.outside,
        s.accumulated.abs.max, s.accumulated.sqnr_db, s.kernel, printable(s.step), nodes,
        s.restarted ? " (restarted here)" : "",
        s.round > 0 ? fmt::format(" (round {})", s.round + 1) : "");
  }
  return told;
}

}  // namespace vitrail::cli
