// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "plan/plan.h"

namespace vitrail {

/// Sets first and last of every buffer: the steps, counted depth first, between which it holds what
/// someone still reads. What a loop's body reads from outside lives as long as the loop, because
/// the body runs again; the results of a branch or loop live from its first step on.
void set_live_ranges(Plan& plan);

}  // namespace vitrail
