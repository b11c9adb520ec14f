// SPDX-License-Identifier: Apache-2.0
#include "kernels/reference.h"

#include "base/error.h"

namespace vitrail {

void for_each_index(const Dims& dims, const std::function<void(const Dims&)>& action) {
  Dims index(dims.size(), 0);
  for (int64_t left = element_count(dims); left > 0; --left) {
    action(index);
    for (size_t axis = dims.size(); axis-- > 0;) {
      if (++index[axis] < dims[axis]) break;
      index[axis] = 0;
    }
  }
}

void apply_epilogue(const Problem& problem, const Tensor& own, const std::vector<Tensor>& inputs,
                    std::vector<Tensor>& outputs) {
  const PointwiseProgram& program = problem.epilogue;
  std::vector<double> registers(static_cast<size_t>(program.inputs) + program.code.size());
  for (int64_t i = 0; i < own.size(); ++i) {
    registers[0] = own.data<double>()[i];
    for (int r = 1; r < program.inputs; ++r)
      registers[static_cast<size_t>(r)] =
          inputs.at(static_cast<size_t>(problem.epilogue_inputs + r - 1)).data<double>()[i];
    for (size_t k = 0; k < program.code.size(); ++k) {
      const PointwiseInstr& in = program.code[k];
      registers[static_cast<size_t>(program.inputs) + k] =
          evaluate(in.op, registers[static_cast<size_t>(in.a)],
                   registers[static_cast<size_t>(in.b)], in.imm);
    }
    for (size_t r = 0; r < program.results.size(); ++r)
      outputs[r].mutable_data<double>()[i] = registers[static_cast<size_t>(program.results[r])];
  }
}

double epilogue_tolerance(const Problem& problem, double own) {
  // Samples keep |x| moderate, so that the functions used have slopes of at most about 2, and each
  // vector function is good to 4 units. pow and exp are used there on arguments below 1 only.
  double units = own;
  for (const PointwiseInstr& in : problem.epilogue.code)
    units = units * (arity_of(in.op) == 2 ? 1.25 : 1.5) + 4;
  return units;
}

std::string check_epilogue(const Problem& problem) {
  const PointwiseProgram& program = problem.epilogue;
  const int64_t operands = program.inputs - 1;
  if (problem.epilogue_inputs < 0 || operands < 0 ||
      problem.epilogue_inputs + operands > static_cast<int64_t>(problem.inputs.size()))
    return fmt::format("the epilogue reads {} operands from input {} on, of {} inputs", operands,
                       problem.epilogue_inputs, problem.inputs.size());
  if (program.results.size() != problem.outputs.size())
    return fmt::format("the epilogue has {} results for {} outputs", program.results.size(),
                       problem.outputs.size());
  const auto registers = static_cast<int64_t>(program.code.size()) + program.inputs;
  for (size_t i = 0; i < program.code.size(); ++i) {
    const PointwiseInstr& in = program.code[i];
    const int64_t defined = program.inputs + static_cast<int64_t>(i);
    if ((arity_of(in.op) >= 1 && !(0 <= in.a && in.a < defined)) ||
        (arity_of(in.op) == 2 && !(0 <= in.b && in.b < defined)))
      return fmt::format("instruction {} of the epilogue reads an undefined register", i);
  }
  for (int16_t r : program.results)
    if (r < 0 || r >= registers)
      return fmt::format("the epilogue's result register {} does not exist", r);
  if (problem.outputs.empty()) return "no outputs";
  for (const Operand& out : problem.outputs) {
    if (out.dims != problem.outputs[0].dims) return "outputs of different extents";
    if (out.dtype != DType::f32) return fmt::format("output is {}, not f32", name_of(out.dtype));
  }
  for (int64_t i = 0; i < operands; ++i) {
    const Operand& in = problem.inputs[static_cast<size_t>(problem.epilogue_inputs + i)];
    if (in.dims != problem.outputs[0].dims)
      return fmt::format("epilogue operand {} is {}, the output {}", i, to_string(in.dims),
                         to_string(problem.outputs[0].dims));
    if (in.dtype != DType::f32)
      return fmt::format("epilogue operand {} is {}, not f32", i, name_of(in.dtype));
  }
  return {};
}

}  // namespace vitrail
