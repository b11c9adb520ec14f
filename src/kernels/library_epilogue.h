// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/gpu_kernel.h"

namespace vitrail {

/// What rows that call a library share: the epilogue result = act(own + bias + residual).
struct LibraryEpilogue {
  enum class Kind : uint8_t {
    /// cuBLASLt: bias and residual of the result's type, 16 bytes aligned bias, ReLU, tanh-GELU
    matmul,
    /// cuDNN: bias of any type, either GELU too
    convolution,
  };
  int bias = -1, residual = -1;  ///< inputs; -1: none
  int64_t activation = 0;        ///< 0: none, 1: ReLU, 2: GELU by tanh, 3: GELU by erf
};

/// Whether the problem's epilogue is one that the library computes, meaning the same.
bool library_epilogue(const Problem& problem, LibraryEpilogue::Kind kind, LibraryEpilogue& out);

/// The problem at these extents, as one of constants.
Problem constant_problem(const BoundProblem& bound);

}  // namespace vitrail
