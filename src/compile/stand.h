// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <vector>

#include "backends/cpu/memory.h"
#include "backends/cpu/pool.h"
#include "kernels/kernel.h"

namespace vitrail {

/// Runs launches of one problem as a plan would meet them: weights come from beyond the cores' own
/// caches, because many sets of operands take turns; small activations lie in the cache of the
/// worker that will most likely have written them.
class Stand {
 public:
  /// `weights[i]`: the content of input i (from its element 0), an undefined tensor for one that
  /// varies, which gets numbers uniform in [-1, 1]. Throws Error(resource) for operands above 1
  /// GiB.
  Stand(const BoundProblem& problem, const std::vector<Tensor>& weights, cpu::Lease& lease);

  /// Microseconds of one launch on the next set of operands.
  double run(const CpuKernel& kernel, const Launch& launch);

 private:
  struct Window {
    int64_t first = 0, bytes = 0;  // of element 0 in the window, and in all
    int64_t at = 0;                // in a set
    bool varies = false;           // an input that another step writes
  };
  Window window(const BoundOperand& operand);
  void touch(std::byte* set);

  const BoundProblem& problem_;
  cpu::Lease& lease_;
  std::vector<Window> inputs_, outputs_;
  int64_t set_bytes_ = 0;
  int sets_ = 1, next_ = 0;
  bool touches_ = false;
  cpu::Memory memory_, scratch_, shared_;
};

}  // namespace vitrail
