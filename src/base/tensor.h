// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>
#include <span>

#include "base/dtype.h"
#include "base/error.h"
#include "base/shape.h"

namespace vitrail {

/// A dense row-major tensor on the host. Copies share the memory; `mutable_data` is for whoever
/// made the tensor and has not given it away yet. Memory made here is 64-byte aligned; foreign
/// memory (a mapped file) at least to its element type.
class Tensor {
 public:
  Tensor() = default;
  /// Uninitialised memory. Throws Error(bad_input) for impossible extents, Error(resource) when
  /// the memory cannot be had.
  Tensor(DType dtype, Dims dims);
  /// Memory owned by someone else (a mapped file): `owner` keeps it alive.
  Tensor(DType dtype, Dims dims, const void* data, std::shared_ptr<const void> owner);

  template <typename T>
  static Tensor of(Dims dims, const std::vector<T>& values) {
    Tensor out(dtype_of<T>(), std::move(dims));
    require(static_cast<size_t>(out.size()) == values.size(), Code::internal,
            "{} values for shape {}", values.size(), to_string(out.dims()));
    T* to = out.mutable_data<T>();
    for (size_t i = 0; i < values.size(); ++i) to[i] = values[i];
    return out;
  }
  template <typename T>
  static Tensor scalar(T value) { return of<T>({}, {value}); }

  bool defined() const { return data_ != nullptr; }
  DType dtype() const { return dtype_; }
  const Dims& dims() const { return dims_; }
  size_t rank() const { return dims_.size(); }
  /// Number of elements.
  int64_t size() const { return size_; }
  size_t bytes() const { return static_cast<size_t>(size_) * size_of(dtype_); }

  const void* raw() const { return data_; }
  void* mutable_raw() { return const_cast<void*>(data_); }
  template <typename T>
  const T* data() const {
    check_type(dtype_of<T>());
    return static_cast<const T*>(data_);
  }
  template <typename T>
  T* mutable_data() {
    check_type(dtype_of<T>());
    return static_cast<T*>(const_cast<void*>(data_));
  }
  template <typename T>
  std::span<const T> span() const { return {data<T>(), static_cast<size_t>(size_)}; }

  /// The same memory under other extents of the same size.
  Tensor reshaped(Dims dims) const;
  /// A copy with each element converted (float to integer truncates and saturates; to bool: != 0).
  Tensor cast(DType dtype) const;
  /// Element i of an integer or boolean tensor.
  int64_t int_at(int64_t i) const;
  /// Element i of any numeric tensor.
  double number_at(int64_t i) const;
  /// All elements of an integer tensor; throws Error(bad_input) naming `what` for another type.
  std::vector<int64_t> to_ints(const char* what) const;
  /// Same type, extents and bytes.
  bool same(const Tensor& other) const;

 private:
  void check_type(DType wanted) const;
  DType dtype_ = DType::f32;
  Dims dims_;
  int64_t size_ = 0;
  const void* data_ = nullptr;
  std::shared_ptr<const void> owner_;
};

/// Calls `action` with a value of the C++ type of `dtype` (f16, bf16 and string have none: throws
/// Error(unsupported) naming `what`).
template <typename Action>
void with_type(DType dtype, const char* what, Action&& action) {
  switch (dtype) {
    case DType::f32: return action(float{});
    case DType::f64: return action(double{});
    case DType::i8: return action(int8_t{});
    case DType::i16: return action(int16_t{});
    case DType::i32: return action(int32_t{});
    case DType::i64: return action(int64_t{});
    case DType::u8: return action(uint8_t{});
    case DType::u16: return action(uint16_t{});
    case DType::u32: return action(uint32_t{});
    case DType::u64: return action(uint64_t{});
    case DType::boolean: return action(bool{});
    default: fail(Code::unsupported, "{}: element type {}", what, name_of(dtype));
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
