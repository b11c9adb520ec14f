// SPDX-License-Identifier: Apache-2.0
#include "kernels/samples.h"

namespace vitrail {

Operand strided(Shape dims, Shape strides) {
  return {DType::f32, std::move(dims), std::move(strides), false};
}
Operand sample(Shape dims) {
  Shape strides = row_major(dims);
  return strided(std::move(dims), std::move(strides));
}
Operand window(Shape dims, const Shape& buffer) {
  return strided(std::move(dims), row_major(buffer));
}
Operand weight(Operand operand) {
  operand.constant = true;
  return operand;
}
Problem sample_problem(const char* family, std::vector<Operand> inputs, Operand output) {
  Problem out;
  out.family = family;
  out.epilogue_inputs = static_cast<int>(inputs.size());
  out.inputs = std::move(inputs);
  out.outputs = {std::move(output)};
  return out;
}

Problem with_epilogue(Problem problem, EpilogueForm form) {
  const Shape dims = problem.outputs[0].dims;
  const size_t last = dims.size() - 1;
  const auto only = [&](size_t axis) {
    Shape strides(dims.size(), 0);
    strides[axis] = 1;
    return strided(dims, strides);
  };
  const Operand bias = weight(only(last));
  Shape wider = dims;
  wider[last] = wider[last] + 7;
  const Operand residual = window(dims, wider);
  PointwiseProgram& program = problem.epilogue;
  const auto use = [&](std::vector<Operand> operands, std::vector<PointwiseInstr> code,
                       std::vector<int16_t> results) {
    program = {1 + static_cast<int>(operands.size()), std::move(code), std::move(results)};
    for (Operand& o : operands) problem.inputs.push_back(std::move(o));
  };
  using enum Pointwise;
  switch (form) {
    case EpilogueForm::bias:
      use({bias}, {{add, 0, 1, 0}}, {2});
      break;
    case EpilogueForm::gelu:
      use({bias}, {{add, 0, 1, 0}, {gelu, 2, 0, 0}}, {3});
      break;
    case EpilogueForm::residual:
      use({residual}, {{add, 1, 0, 0}}, {2});
      break;
    case EpilogueForm::activation:
      use({}, {{swish, 0, 0, 1}}, {1});
      break;
    case EpilogueForm::full:
      use({bias, residual}, {{add, 0, 1, 0}, {gelu, 3, 0, 0}, {add, 4, 2, 0}}, {5});
      break;
    case EpilogueForm::program:
      use({residual, only(0), bias},
          {{mul, 0, 1, 0}, {sub, 4, 2, 0}, {sigmoid, 5, 0, 0}, {max, 3, 6, 0}}, {7, 5});
      problem.outputs.push_back(problem.outputs[0]);
      break;
  }
  return problem;
}

}  // namespace vitrail
