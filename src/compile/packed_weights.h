// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <string>

#include "kernels/kernel.h"

namespace vitrail {

/// Packed weights by what they were made of, so that the plans that one build tries share them.
class PackedWeights {
 public:
  /// `dense` as the family packs constant input `index` of the problem.
  Tensor get(const KernelFamily& family, const Problem& problem, size_t index, const Tensor& dense);

 private:
  struct Entry {
    Tensor dense;  ///< held, so that its address is nobody else's
    Tensor packed;
  };
  std::map<std::pair<const void*, std::string>, Entry> known_;
};

}  // namespace vitrail
