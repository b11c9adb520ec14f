// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <unordered_map>
#include <vector>

#include "import/npz.h"

namespace vitrail {

/// Named tensors of a checkpoint, in the file's order. They point into the mapped file where its
/// layout allows and keep it alive.
class WeightFile {
 public:
  WeightFile(std::string path, std::string format, NamedTensors tensors);

  const std::string& path() const { return path_; }
  /// "numpy archive", "safetensors" or "PyTorch checkpoint"
  const std::string& format() const { return format_; }
  const NamedTensors& tensors() const { return tensors_; }
  /// Null when there is none of that name.
  const Tensor* find(const std::string& name) const;

 private:
  std::string path_, format_;
  NamedTensors tensors_;
  std::unordered_map<std::string, size_t> index_;
};

/// Reads .npz, .safetensors or a PyTorch checkpoint (.pth, .pt; the zip format and the one before
/// version 1.6), told apart by content, not by name. Throws Error(bad_input) for a damaged file or
/// one of another kind (naming the kind), Error(unsupported) for what a parser does not do.
WeightFile load_weights(const std::string& path);

}  // namespace vitrail
