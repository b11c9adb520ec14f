// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "vitrail/builder.h"

namespace vitrail::cli {

/// What a build tells at its end: nodes, steps, what was fused and what not, memory, verification.
void print_account(const BuildReport& report);

}  // namespace vitrail::cli
