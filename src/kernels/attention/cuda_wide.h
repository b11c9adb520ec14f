// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "kernels/gpu_kernel.h"

namespace vitrail {

/// Of one block of AttentionWide (kernels/cuda/attention_wide.cuh), whose words these are.
struct WideAttention {
  int wq = 2, wk = 1, bc = 64, split = 1, stages = 2;

  int threads() const { return 128 * wq * wk; }
  /// Dynamic shared memory: queries, keys and values, afterwards the sums that are joined.
  int64_t shared_bytes(int64_t d, int64_t dv) const;
  /// Blocks of a multiprocessor for which there are registers; 0: not even for one.
  int blocks(int64_t dv) const;
  Tactic tactic() const;
  static WideAttention from(const Tactic& tactic);
  /// Device functions for its extents that the body calls.
  std::string text(DType type, int64_t dv) const;
};

/// Whether these operands can be copied 16 bytes at a time, head sizes being known.
bool takes_wide_attention(const Problem& problem, const GpuMachine& machine);
/// Tactics for `batch` times `queries` x `keys`, with an estimate of their cycles on an H200.
std::vector<std::pair<double, Tactic>> wide_attention_tactics(int64_t batch, int64_t queries,
                                                              int64_t keys, int64_t d, int64_t dv,
                                                              const GpuMachine& machine);

}  // namespace vitrail
