// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

#include "kernels/kernel.h"

namespace vitrail {

/// How a sample's operands lie: dense wherever the margin puts them, dense from aligned addresses,
/// with rows of more than eight elements filled up to multiples of eight.
enum class Memory : uint8_t { plain, aligned, spare };

/// A family's sample with float32 operands of another type, lying so.
Problem in_storage(Problem p, DType type, Memory memory);

/// Whether its operands begin at aligned addresses (Memory::aligned or spare).
bool aligned(const Problem& p);

/// Units of 2^-23 that rounding inputs to 16 bits does not add, as both sides read the rounded
/// ones: only the result is rounded once more, and float32 tolerances scale with sums of the same
/// length.
double allowed(const KernelFamily& family, const BoundProblem& bound, DType out);
/// What is wrong with the result, or nothing.
std::string compare(const Tensor& got, const Tensor& expected, double units);

}  // namespace vitrail
