// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/kernel.h"

namespace vitrail {

struct MatrixStrides {
  int64_t row, col;
};

/// What run() needs, inside Launch::state.
struct SpectralState {
  int64_t batch, channels, heads, depth, out;  ///< depth: columns of a head
  int64_t padded;                              ///< depth rounded up to whole vectors of doubles
  int64_t g_batch, m_batch, rescale_step;
  MatrixStrides g, q, k, v, proj, m;
  int64_t row_blocks;  ///< tasks of the second phase for one image
  double eps;
};

Refusal spectral_accepts(const Problem& problem);
std::vector<Tactic> spectral_tactics(const BoundProblem& problem, const Machine& machine,
                                     int workers);
Launch spectral_bind(const BoundProblem& problem, const Tactic& tactic, const Machine& machine,
                     int workers);

}  // namespace vitrail
