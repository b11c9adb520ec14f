// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "base/tensor.h"
#include "vitrail/check.h"
#include "vitrail/random.h"

// compare() of vitrail/check.h and random_tensor() of vitrail/random.h are defined in this folder.
