// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/gpu_kernel.h"

namespace vitrail {

/// What rows that call a library share: the epilogue result = act(own + bias + residual), all of
/// the result's type, the bias at a multiple of 16 bytes.
struct LibraryEpilogue {
  int bias = -1, residual = -1;  ///< inputs; -1: none
  int64_t activation = 0;        ///< 0: none, 1: ReLU, 2: GELU by tanh
};

/// Whether the problem's epilogue is such a one.
bool library_epilogue(const Problem& problem, LibraryEpilogue& out);

/// The problem at these extents, as one of constants.
Problem constant_problem(const BoundProblem& bound);

}  // namespace vitrail
