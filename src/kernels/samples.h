// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

#include "base/problem.h"
#include "kernels/kernel.h"

namespace vitrail {

/// A dense row-major float32 operand.
Operand sample(Shape dims);
/// The first elements of a larger row-major buffer of extents `buffer`.
Operand window(Shape dims, const Shape& buffer);
Operand strided(Shape dims, Shape strides);
Operand weight(Operand operand);
/// A problem with one output and no epilogue; epilogue operands added later start after `inputs`.
Problem sample_problem(const char* family, std::vector<Operand> inputs, Operand output);

/// Forms of epilogues that models have, for samples: x + bias; gelu(x + bias); x + residual;
/// swish(x); gelu(x + bias) + residual; two results, one of them with operands of broadcast rows
/// and columns, which only the general program covers.
enum class EpilogueForm { bias, gelu, residual, activation, full, program };
constexpr EpilogueForm kEpilogueForms[] = {EpilogueForm::bias,     EpilogueForm::gelu,
                                           EpilogueForm::residual, EpilogueForm::activation,
                                           EpilogueForm::full,     EpilogueForm::program};
/// The problem with such an epilogue; its operands have the output's dims, the residual in a window
/// of a wider buffer.
Problem with_epilogue(Problem problem, EpilogueForm form);

}  // namespace vitrail
