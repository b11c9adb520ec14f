// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "plan/plan.h"

namespace vitrail {

/// Bytes of working memory that a session of the plan holds at the opt shapes; 0 where a symbol is
/// known only when a session binds, and for plans whose memory is a device's.
uint64_t working_memory(const Plan& plan, int threads = 0);

}  // namespace vitrail
