// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

#include "kernels/cuda/text.h"

namespace vitrail::cuda {

/// Tokens of one image in parts that blocks take: `most` of them where none is longer than
/// `longest`. They depend on the number of tokens alone, so that the sums do.
struct GramParts {
  Expr tokens = 1, size, count;
  GramParts(const Operand& x, int64_t most, int64_t grain, int64_t longest = INT32_MAX);
};

/// Adds Cfg of gram.cuh, gram_half.cuh and gram_float.cuh: C, VX, `constants`, at() and store().
void add_gram_config(SourceText& text, const Problem& problem, const std::string& constants);

/// Dynamic shared memory of blocks that shall have a multiprocessor each. Blocks that start before
/// the launch ahead has ended go where there is room first, many to one multiprocessor while others
/// are still busy; those that ask for more than half of its memory cannot.
inline int64_t undivided_shared(const GpuMachine& machine) {
  return machine.shared_bytes / 2 + 1024;
}

/// Two launches, `form` ("GramHalf<Cfg>") and the addition of its parts of `elements` floats.
GpuCode finish_gram(SourceText& text, const Problem& problem, const GramParts& parts,
                    const std::string& form, int64_t elements, int64_t threads,
                    int64_t shared_bytes);

}  // namespace vitrail::cuda
