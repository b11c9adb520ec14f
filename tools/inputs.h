// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

#include "vitrail/session.h"
#include "vitrail/tensor.h"

namespace vitrail::cli {

/// A plan and what it shall run on.
struct PlanToRun {
  LoadedPlan plan;
  NamedTensors inputs;
};
/// Loads a plan, or builds one of an ONNX file that leaves no file behind. `inputs`: path of an
/// .npz, empty: random ones at `shapes` (as of --shapes), which otherwise are the plan's opt.
/// Throws Error(usage) for a shape of an input that the plan does not have.
PlanToRun load_to_run(const std::string& model, const std::string& inputs,
                      const std::vector<std::string>& shapes, int threads);

/// Names the tensors, which must outlive the session's runs.
void set_inputs(Session& session, const NamedTensors& inputs);

}  // namespace vitrail::cli
