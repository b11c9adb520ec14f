// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <set>
#include <string>

#include "vitrail/tensor.h"

namespace vitrail::zoo {

/// Where a network's parameters come from: a checkpoint, or values made from each parameter's name
/// (tests/golden/README.md, "Weights by name").
class Weights {
 public:
  static Weights deterministic();
  /// .pth, .safetensors or .npz with the official names; a prefix that all names share ("module.")
  /// is dropped.
  static Weights from_file(const std::string& path);

  /// Throws Error(bad_input) naming the parameter when it is missing or has another shape.
  Tensor get(const std::string& name, const Dims& dims) const;
  /// Throws Error(bad_input) that lists what a checkpoint holds and nobody has got: it belongs to
  /// another model then. Counters of training (num_batches_tracked) may stand.
  void require_all_read() const;
  bool is_deterministic() const { return path_.empty(); }

 private:
  std::string path_;
  std::map<std::string, Tensor, std::less<>> tensors_;
  mutable std::set<std::string, std::less<>> read_;
};

/// The rule of tests/golden/README.md for one tensor.
Tensor deterministic_weight(const std::string& name, const Dims& dims);
/// The input that goes with it: uniform in [-1, 1) or, `unit`, in [0, 1).
Tensor deterministic_input(const Dims& dims, bool unit);

}  // namespace vitrail::zoo
