// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "base/problem.h"

namespace vitrail {

/// The least that any kernel has to do for a problem.
struct Work {
  double read = 0, written = 0;  ///< bytes of the operands' elements, each once
  double flop = 0;               ///< as KernelFamily::flop counts, without the epilogue
  double bytes() const { return read + written; }
};
/// A broadcast operand counts once (strides of 0), a constant as its dense extents in the type it
/// is packed to.
Work work_of(const BoundProblem& problem);
double bytes_of(const BoundOperand& operand);
double bytes_of(const BoundProblem& problem);
double flop_of(const BoundProblem& problem);

/// Units that bound a problem's arithmetic.
enum class Units : uint8_t { vector, f32, tf32, f16, bf16 };
const char* name_of(Units units);
/// vector: families without matrix products. Otherwise the type of the factors, the narrower where
/// they differ: kernels convert the wider one.
Units units_of(const Problem& problem);

}  // namespace vitrail
