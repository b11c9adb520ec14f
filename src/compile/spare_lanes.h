// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "plan/plan.h"

namespace vitrail {

/// Says of every launch's operands what follows their rows and is no other value's, as ints
/// "spare_in<i>" and "spare_out<i>" of the problems (see spare_of in kernels/cuda/text.h). Only for
/// buffers of the arena whose values all lie in rows of one pitch; for a plan whose values are
/// complete.
void set_spare_lanes(Plan& plan);

}  // namespace vitrail
