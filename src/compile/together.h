// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <vector>

#include "compile/layout.h"

namespace vitrail {

/// Moves steps that do not depend on each other next to each other and sets LaidStep::together, so
/// that a GPU can run them as one launch: those of one family, and copies with what is as light.
/// `opt`: the extents at which steps are small enough to gain from it.
void bring_together(std::vector<LaidStep>& steps, const Bindings& opt);

}  // namespace vitrail
