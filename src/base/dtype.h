// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "vitrail/dtype.h"

namespace vitrail {

/// The inverse of name_of; throws Error(bad_input) for an unknown name.
DType dtype_from_name(std::string_view name);
inline bool is_float(DType t) {
  return t == DType::f32 || t == DType::f64 || t == DType::f16 || t == DType::bf16;
}
inline bool is_signed_integer(DType t) {
  return t == DType::i8 || t == DType::i16 || t == DType::i32 || t == DType::i64;
}
inline bool is_unsigned_integer(DType t) {
  return t == DType::u8 || t == DType::u16 || t == DType::u32 || t == DType::u64;
}
inline bool is_integer(DType t) { return is_signed_integer(t) || is_unsigned_integer(t); }

// IEEE 754 binary16 and bfloat16, round to nearest even; NaN stays NaN, overflow becomes infinity.
float f16_to_float(uint16_t bits);
uint16_t float_to_f16(float value);
inline float bf16_to_float(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}
uint16_t float_to_bf16(float value);

}  // namespace vitrail
