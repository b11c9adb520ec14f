// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/kernel.h"

namespace vitrail {

struct MatrixStrides {
  int64_t row, col;
};

/// Columns of k whose rows of scores one task makes.
constexpr int64_t kSpectralPart = 16;

/// What run() needs, inside Launch::state. Counts are of doubles.
struct SpectralState {
  int64_t batch, channels, heads, depth, out;  ///< depth: columns of a head
  int64_t padded;                              ///< depth rounded up to whole vectors of doubles
  int64_t out_pitch;  ///< of rows as long as the result's: an odd number of cache lines
  int64_t g_batch, m_batch, rescale_step;
  MatrixStrides g, q, k, v, proj, m;
  int64_t parts;       ///< blocks of a head's columns of k
  int64_t row_blocks;  ///< blocks of the rows of G, and of the result
  /// Where an image's matrices lie in the shared memory, and how much it has there.
  int64_t lower, scores, inverse_k, inverse_q, mixed, image;
  int64_t phase_ends[4];  ///< within one image
  int64_t whole_images;   ///< 1: a task is an image, with all phases
  double eps;
};

Refusal spectral_accepts(const Problem& problem);
std::vector<Tactic> spectral_tactics(const BoundProblem& problem, const Machine& machine,
                                     int workers);
Launch spectral_bind(const BoundProblem& problem, const Tactic& tactic, const Machine& machine,
                     int workers);

}  // namespace vitrail
