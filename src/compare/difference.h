// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "base/tensor.h"
#include "vitrail/check.h"

// compare() of vitrail/check.h lives here, and the generator behind random_tensor().
namespace vitrail {

/// See random_tensor in vitrail/check.h.
Tensor random_uniform(DType dtype, const Dims& dims, uint64_t seed, double low, double high);

}  // namespace vitrail
