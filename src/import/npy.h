// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

#include "import/bytes.h"

namespace vitrail {

/// An array in numpy's format (versions 1.0 to 3.0; numpy.lib.format). Big-endian data and Fortran
/// order are converted; otherwise the tensor points into `file` where alignment allows. Throws
/// Error(bad_input) for damage and Error(unsupported) for element types without a DType (objects,
/// records, strings, complex numbers), naming `name`.
Tensor parse_npy(const SharedBytes& file, const std::string& name);
Tensor load_npy(const std::string& path);

/// The bytes before the data of `tensor`, version 1.0, padded so that the data starts at a multiple
/// of 64. Throws Error(unsupported) for element types that numpy lacks (bf16: cast first).
std::string npy_header(const Tensor& tensor);
void save_npy(const std::string& path, const Tensor& tensor);

inline Bytes bytes_of(const Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.raw()), tensor.bytes()};
}

}  // namespace vitrail
