// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "runtime/executor.h"
#include "vitrail/trace.h"

namespace vitrail {

/// Median and quartiles (0 for nothing).
Spread spread_of(std::vector<double> values);

/// Runs and times `executor`, whose inputs are set.
Trace trace_runs(Executor& executor, const TraceOptions& options);

/// The path that all names share, cut to `depth` parts: parts end at '/' and '.'. Names without a
/// path count only when none has one.
std::string shared_path(const std::vector<std::string>& names, int depth);

}  // namespace vitrail
