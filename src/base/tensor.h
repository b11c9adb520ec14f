// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "base/dtype.h"
#include "base/error.h"
#include "base/shape.h"
#include "vitrail/tensor.h"

namespace vitrail {

/// Calls `action` with a value of the C++ type of `dtype` (f16, bf16 and string have none: throws
/// Error(unsupported) naming `what`).
template <typename Action>
void with_type(DType dtype, const char* what, Action&& action) {
  switch (dtype) {
    case DType::f32:
      return action(float{});
    case DType::f64:
      return action(double{});
    case DType::i8:
      return action(int8_t{});
    case DType::i16:
      return action(int16_t{});
    case DType::i32:
      return action(int32_t{});
    case DType::i64:
      return action(int64_t{});
    case DType::u8:
      return action(uint8_t{});
    case DType::u16:
      return action(uint16_t{});
    case DType::u32:
      return action(uint32_t{});
    case DType::u64:
      return action(uint64_t{});
    case DType::boolean:
      return action(bool{});
    default:
      fail(Code::unsupported, "{}: element type {}", what, name_of(dtype));
  }
}
/// The same for float and double only.
template <typename Action>
void with_float_type(DType dtype, const char* what, Action&& action) {
  if (dtype == DType::f32) return action(float{});
  if (dtype == DType::f64) return action(double{});
  fail(Code::unsupported, "{}: element type {} where a float is needed", what, name_of(dtype));
}

}  // namespace vitrail
