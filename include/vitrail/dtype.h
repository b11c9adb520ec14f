// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <cstdint>

namespace vitrail {

/// Element types. Strings exist only in graphs that are being inspected; nothing computes on them.
enum class DType : uint8_t {
  f32,
  f64,
  f16,
  bf16,
  i8,
  i16,
  i32,
  i64,
  u8,
  u16,
  u32,
  u64,
  boolean,
  string
};
constexpr int kDTypeCount = 14;

/// Bytes of one element (boolean: 1; string: 0).
size_t size_of(DType dtype);
/// "f32", "i64", "bool", ...
const char* name_of(DType dtype);

}  // namespace vitrail
