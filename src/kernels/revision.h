// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace vitrail {

/// A digest of the kernels' sources and compiler flags: timings taken with another one say nothing.
const char* kernel_revision();

}  // namespace vitrail
