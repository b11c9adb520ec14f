// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <nlohmann/json_fwd.hpp>

#include "tools/side.h"
#include "vitrail/check.h"

namespace vitrail::cli {

/// Prints how each step of `plan` differs from the reference on `model`, the `worst` first (0: all,
/// in order), and returns all of them. Throws Error(usage) when the sides are no plan and model.
nlohmann::ordered_json compare_layers(const Side& plan, const Side& model,
                                      const NamedTensors& inputs, const StepOptions& options,
                                      size_t worst);

}  // namespace vitrail::cli
