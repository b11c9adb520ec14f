// SPDX-License-Identifier: Apache-2.0
#include "kernels/library_epilogue.h"

#include "kernels/cuda/text.h"

namespace vitrail {

// own + bias + residual in any order, then at most one activation.
bool library_epilogue(const Problem& p, LibraryEpilogue& out) {
  const PointwiseProgram& program = p.epilogue;
  const Operand& d = p.outputs[0];
  if (p.outputs.size() != 1 || program.results.size() != 1) return false;
  int current = 0;
  for (size_t i = 0; i < program.code.size(); ++i) {
    const PointwiseInstr& in = program.code[i];
    const int defined = program.inputs + static_cast<int>(i);
    if (out.activation != 0) return false;
    if (in.op == Pointwise::add && (in.a == current) != (in.b == current)) {
      const int other = in.a == current ? in.b : in.a;
      if (other < 1 || other >= program.inputs) return false;
      const int index = p.epilogue_inputs + other - 1;
      const Operand& o = p.inputs[static_cast<size_t>(index)];
      bool repeats = true;
      for (size_t axis = 0; axis + 1 < o.dims.size(); ++axis)
        repeats &= o.strides[axis].is(0) || o.dims[axis].is(1);
      const bool dense = o.dtype == d.dtype && (o.strides.back().is(1) || o.dims.back().is(1));
      // Its vector loads of a bias have no alignment that can be asked for.
      const bool bias =
          repeats && cuda::known_alignment(p, false, static_cast<size_t>(index)) >= 16;
      if (!dense) return false;
      if (bias && out.bias < 0)
        out.bias = index;
      else if (!repeats && out.residual < 0)
        out.residual = index;
      else
        return false;
    } else if (in.a == current && in.op == Pointwise::relu) {
      out.activation = 1;
    } else if (in.a == current && in.op == Pointwise::gelu_tanh) {
      out.activation = 2;
    } else {
      return false;
    }
    current = defined;
  }
  return program.results[0] == current;
}

Problem constant_problem(const BoundProblem& bound) {
  Problem out = *bound.problem;
  const auto set = [](std::vector<Operand>& list, const std::vector<BoundOperand>& values) {
    for (size_t i = 0; i < list.size(); ++i)
      list[i].dims = to_shape(values[i].dims), list[i].strides = to_shape(values[i].strides);
  };
  set(out.inputs, bound.inputs), set(out.outputs, bound.outputs);
  return out;
}

}  // namespace vitrail
