// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "vitrail/dtype.h"

namespace vitrail {

/// Extents of a tensor, outermost first. An empty list is a scalar.
using Dims = std::vector<int64_t>;

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
    out.check_count(values.size());
    T* to = out.mutable_data<T>();
    for (size_t i = 0; i < values.size(); ++i) to[i] = values[i];
    return out;
  }
  template <typename T>
  static Tensor scalar(T value) {
    return of<T>({}, {value});
  }

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
  std::span<const T> span() const {
    return {data<T>(), static_cast<size_t>(size_)};
  }

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
  void check_count(size_t values) const;
  DType dtype_ = DType::f32;
  Dims dims_;
  int64_t size_ = 0;
  const void* data_ = nullptr;
  std::shared_ptr<const void> owner_;
};

/// Tensors by name, in order.
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

}  // namespace vitrail
