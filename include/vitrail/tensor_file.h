// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "vitrail/dtype.h"
#include "vitrail/error.h"

namespace vitrail {

/// A tensor from a file or for one: dense row-major, little-endian.
struct FileTensor {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> dims;
  const void* data = nullptr;
  size_t bytes = 0;
  std::shared_ptr<const void> owner;  ///< keeps `data` alive; empty when the caller does
};

/// The tensors of a .npz, .npy, .safetensors or PyTorch file (.pth, .pt), told apart by content, in
/// the file's order; the one of an .npy has an empty name. They point into the mapped file where
/// its layout allows. Throws Error(io), Error(bad_input) for damage or another kind of file (naming
/// the kind), Error(unsupported) for element types and variants that are not read.
std::vector<FileTensor> load_tensors(const std::string& path);

/// Written completely or not at all; the same bytes for the same tensors. Throws Error(io), and
/// Error(unsupported) for element types that numpy lacks (bf16).
void save_npz(const std::string& path, std::span<const FileTensor> tensors);
void save_npy(const std::string& path, const FileTensor& tensor);

}  // namespace vitrail
