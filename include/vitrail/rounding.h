// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "vitrail/tensor.h"

namespace vitrail {

/// A type narrower than float32: TF32 has float32's exponents and 11 bits of precision, float16 11
/// bits and exponents from 2^-14, bfloat16 float32's exponents and 8 bits.
enum class Rounding : uint8_t { none, tf32, f16, bf16 };
/// A result computed in a narrow type may have this many times the error of the reference with
/// weights and stored values rounded to it (run_rounded in check.h).
constexpr double kMostOfRounding = 1.5;

/// "none", "tf32", "f16", "bf16".
const char* name_of(Rounding rounding);

/// Float32 or float64 elements rounded to the nearest value of the narrow type, ties to even, in
/// the tensor's own type. What lies beyond the largest value becomes infinite, what lies below the
/// smallest normal one is rounded to a multiple of the smallest subnormal; NaN stays NaN. Tensors
/// of other types are returned as they are.
Tensor rounded(const Tensor& tensor, Rounding rounding);

}  // namespace vitrail
