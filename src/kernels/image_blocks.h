// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <vector>

#include "base/problem.h"

namespace vitrail {

/// Rows and columns of an image that one task makes, for kernels that keep a ring of rows in cache.
struct ImageBlock {
  int64_t rows, cols;
};

/// A tactic's number for `key`, at least 1; 0 where the tactic leaves it to the kernel.
int64_t asked_extent(const Tactic& tactic, const char* key);
/// Rows of a block of an image of `h` rows: from `least` to 64, in a count of blocks that keeps
/// `workers` evenly busy beside the `others` (images and columns of blocks).
int64_t block_rows(int64_t h, int64_t least, int64_t others, int workers);
/// The kernel's own choice first, then those of `candidates`, cut to the image of `h` x `w`, that
/// differ from `chosen` and from each other: {"rows", "cols"}.
std::vector<Tactic> block_tactics(int64_t h, int64_t w, ImageBlock chosen,
                                  const std::vector<ImageBlock>& candidates);

}  // namespace vitrail
