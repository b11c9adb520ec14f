// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstring>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "base/tensor.h"

namespace vitrail {

/// Bytes with what keeps them alive.
struct SharedBytes {
  Bytes bytes;
  std::shared_ptr<const void> owner;
};

/// Reads little-endian numbers and pieces from the front of a byte sequence; running past its end
/// throws Error(bad_input) with `name`, the position and what was missing.
class ByteReader {
 public:
  ByteReader(Bytes bytes, std::string name) : bytes_(bytes), name_(std::move(name)) {}

  size_t position() const { return position_; }
  size_t left() const { return bytes_.size() - position_; }
  const std::string& name() const { return name_; }

  Bytes take(uint64_t count, const char* what) {
    require(count <= left(), Code::bad_input,
            "{}: {} needs {} bytes at position {}, found {}: the file is cut short or damaged",
            name_, what, count, position_, left());
    const Bytes out = bytes_.subspan(position_, static_cast<size_t>(count));
    position_ += static_cast<size_t>(count);
    return out;
  }
  /// Bytes that were taken before.
  Bytes seen(size_t begin, size_t count) const {
    return bytes_.first(position_).subspan(begin, count);
  }
  template <typename T>
  T number(const char* what) {
    T value;  // x86-64 is little-endian, like the formats
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }

 private:
  Bytes bytes_;
  std::string name_;
  size_t position_ = 0;
};

/// A tensor over little-endian row-major `data`, without copying where the address suits the
/// element type. Throws Error(bad_input) naming `name` when the size does not fit the extents.
/// Booleans other than 0 and 1 become 1, in a copy.
Tensor tensor_over(DType dtype, const Dims& dims, const SharedBytes& data, const std::string& name);

/// A row-major copy of the elements that lie `strides` (in elements) apart from `first` on. The
/// caller has checked that all of them are in the memory behind `first`.
Tensor gather(DType dtype, const Dims& dims, const Dims& strides, const void* first);

}  // namespace vitrail
