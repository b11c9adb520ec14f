// SPDX-License-Identifier: Apache-2.0
#include "base/tensor.h"

#include <cmath>
#include <cstdlib>
#include <limits>
#include <type_traits>

#include "base/recycle.h"

namespace vitrail {

Tensor::Tensor(DType dtype, Dims dims) : dtype_(dtype), dims_(std::move(dims)) {
  size_ = element_count(dims_);
  const int64_t size = checked_mul(size_, static_cast<int64_t>(size_of(dtype)));
  constexpr int64_t kAlign = 64;
  const size_t padded = static_cast<size_t>(checked_add(size, 2 * kAlign - 1) / kAlign * kAlign);
  owner_ = tensor_memory(padded);
  require(owner_ != nullptr, Code::resource, "no memory for a tensor {} of {} bytes",
          to_string(dims_), size);
  data_ = owner_.get();
}

Tensor::Tensor(DType dtype, Dims dims, const void* data, std::shared_ptr<const void> owner)
    : dtype_(dtype), dims_(std::move(dims)), data_(data), owner_(std::move(owner)) {
  size_ = element_count(dims_);
}

void Tensor::check_type(DType wanted) const {
  if (dtype_ == wanted) return;  // before the message is put together: this stands in loops
  fail(Code::internal, "tensor {} is {}, read as {}", to_string(dims_), name_of(dtype_),
       name_of(wanted));
}

void Tensor::check_count(size_t values) const {
  require(static_cast<size_t>(size_) == values, Code::internal, "{} values for shape {}", values,
          to_string(dims_));
}

Tensor Tensor::reshaped(Dims dims) const {
  require(element_count(dims) == size_, Code::bad_input, "shape {} cannot become {}",
          to_string(dims_), to_string(dims));
  Tensor out = *this;
  out.dims_ = std::move(dims);
  return out;
}

namespace {
template <typename To, typename From>
To convert(From value) {
  if constexpr (std::is_same_v<To, bool>) {
    return value != From{0};
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    if (std::isnan(value)) return 0;
    // The bounds are compared in double: casting an out-of-range float is undefined behaviour.
    const double v = std::trunc(static_cast<double>(value));
    if (v <= static_cast<double>(std::numeric_limits<To>::min()))
      return std::numeric_limits<To>::min();
    if (v >= static_cast<double>(std::numeric_limits<To>::max()))
      return std::numeric_limits<To>::max();
    return static_cast<To>(v);
  } else {
    return static_cast<To>(value);
  }
}
template <typename From, typename Store>
void store_half(const From* from, uint16_t* to, int64_t n, Store store) {
  for (int64_t i = 0; i < n; ++i) to[i] = store(static_cast<float>(from[i]));
}
}  // namespace

Tensor Tensor::cast(DType to_type) const {
  if (to_type == dtype_) return *this;
  const auto widen = [&](auto load) {
    Tensor wide(DType::f32, dims_);
    const auto* from = static_cast<const uint16_t*>(data_);
    float* to = wide.mutable_data<float>();
    for (int64_t i = 0; i < size_; ++i) to[i] = load(from[i]);
    return wide.cast(to_type);
  };
  if (dtype_ == DType::f16) return widen(f16_to_float);
  if (dtype_ == DType::bf16) return widen(bf16_to_float);
  Tensor out(to_type, dims_);
  with_type(dtype_, "cast", [&](auto from_tag) {
    using From = decltype(from_tag);
    const From* from = data<From>();
    if (to_type == DType::f16 || to_type == DType::bf16) {
      auto* to = static_cast<uint16_t*>(out.mutable_raw());
      if (to_type == DType::f16)
        store_half(from, to, size_, float_to_f16);
      else
        store_half(from, to, size_, float_to_bf16);
      return;
    }
    with_type(to_type, "cast", [&](auto to_tag) {
      using To = decltype(to_tag);
      To* to = out.mutable_data<To>();
      for (int64_t i = 0; i < size_; ++i) to[i] = convert<To>(from[i]);
    });
  });
  return out;
}

int64_t Tensor::int_at(int64_t i) const {
  require(0 <= i && i < size_, Code::internal, "element {} of {}", i, size_);
  int64_t value = 0;
  with_type(dtype_, "integer element", [&](auto tag) {
    using T = decltype(tag);
    if constexpr (std::is_floating_point_v<T>)
      fail(Code::bad_input, "an integer tensor is needed, found {}", name_of(dtype_));
    else
      value = static_cast<int64_t>(data<T>()[i]);
  });
  return value;
}

double Tensor::number_at(int64_t i) const {
  require(0 <= i && i < size_, Code::internal, "element {} of {}", i, size_);
  if (dtype_ == DType::f16) return f16_to_float(static_cast<const uint16_t*>(data_)[i]);
  if (dtype_ == DType::bf16) return bf16_to_float(static_cast<const uint16_t*>(data_)[i]);
  double value = 0;
  with_type(dtype_, "element",
            [&](auto tag) { value = static_cast<double>(data<decltype(tag)>()[i]); });
  return value;
}

std::vector<int64_t> Tensor::to_ints(const char* what) const {
  require(is_integer(dtype_), Code::bad_input, "{}: expected an integer tensor, found {}", what,
          name_of(dtype_));
  std::vector<int64_t> out(static_cast<size_t>(size_));
  for (int64_t i = 0; i < size_; ++i) out[static_cast<size_t>(i)] = int_at(i);
  return out;
}

bool Tensor::same(const Tensor& other) const {
  return dtype_ == other.dtype_ && dims_ == other.dims_ &&
         (bytes() == 0 || std::memcmp(data_, other.data_, bytes()) == 0);
}

}  // namespace vitrail
