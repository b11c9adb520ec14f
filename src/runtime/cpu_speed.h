// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "vitrail/trace.h"

namespace vitrail {

/// What `workers` of this machine can do together at its level; takes about half a second. Throws
/// Error(resource) when memory is short.
MachineSpeed measure_cpu(int workers);

}  // namespace vitrail
