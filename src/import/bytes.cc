// SPDX-License-Identifier: Apache-2.0
#include "import/bytes.h"

#include <algorithm>

namespace vitrail {

Tensor tensor_over(DType dtype, const Dims& dims, const SharedBytes& data,
                   const std::string& name) {
  const size_t item = size_of(dtype);
  const int64_t wanted = with_context(
      name, [&] { return checked_mul(element_count(dims), static_cast<int64_t>(item)); });
  require(static_cast<uint64_t>(wanted) == data.bytes.size(), Code::bad_input,
          "{}: {} {} needs {} bytes, found {}", name, name_of(dtype), to_string(dims), wanted,
          data.bytes.size());
  const auto odd_boolean = [](std::byte b) { return static_cast<uint8_t>(b) > 1; };
  // Any other value in a bool is undefined behaviour.
  const bool normalize =
      dtype == DType::boolean && std::any_of(data.bytes.begin(), data.bytes.end(), odd_boolean);
  const bool aligned = reinterpret_cast<uintptr_t>(data.bytes.data()) % item == 0;
  if (aligned && !normalize && !data.bytes.empty())
    return Tensor(dtype, dims, data.bytes.data(), data.owner);
  Tensor out(dtype, dims);
  auto* to = static_cast<std::byte*>(out.mutable_raw());
  if (normalize)
    std::transform(data.bytes.begin(), data.bytes.end(), to,
                   [](std::byte b) { return std::byte{b != std::byte{0}}; });
  else
    std::copy(data.bytes.begin(), data.bytes.end(), to);
  return out;
}

Tensor gather(DType dtype, const Dims& dims, const Dims& strides, const void* first) {
  Tensor out(dtype, dims);
  const size_t item = size_of(dtype);
  const auto* from = static_cast<const std::byte*>(first);
  auto* to = static_cast<std::byte*>(out.mutable_raw());
  Dims index(dims.size(), 0);
  int64_t offset = 0;
  for (int64_t i = 0; i < out.size(); ++i, to += item) {
    std::memcpy(to, from + static_cast<size_t>(offset) * item, item);
    for (size_t axis = dims.size(); axis-- > 0;) {
      offset += strides[axis];
      if (++index[axis] < dims[axis]) break;
      offset -= strides[axis] * dims[axis];
      index[axis] = 0;
    }
  }
  return out;
}

}  // namespace vitrail
