// SPDX-License-Identifier: Apache-2.0
#include "kernels/work.h"

#include <algorithm>

#include "kernels/kernel.h"

namespace vitrail {

double bytes_of(const BoundOperand& operand) {
  auto bytes = static_cast<double>(size_of(operand.dtype));
  for (size_t i = 0; i < operand.dims.size(); ++i)
    if (operand.strides[i] != 0 || operand.dims[i] == 0)
      bytes *= static_cast<double>(operand.dims[i]);
  return bytes;
}

Work work_of(const BoundProblem& problem) {
  Work out;
  for (const BoundOperand& in : problem.inputs) out.read += bytes_of(in);
  for (const BoundOperand& o : problem.outputs) out.written += bytes_of(o);
  const KernelFamily* family = find_family(problem.problem->family);
  if (family && family->flop) out.flop = family->flop(problem);
  return out;
}
double bytes_of(const BoundProblem& problem) { return work_of(problem).bytes(); }
double flop_of(const BoundProblem& problem) { return work_of(problem).flop; }

const char* name_of(Units units) {
  constexpr const char* kNames[] = {"vector", "float32", "tf32", "float16", "bfloat16"};
  return kNames[static_cast<size_t>(units)];
}

Units units_of(const Problem& problem) {
  // Their time is in sums of products that matrix units can take.
  constexpr std::string_view kProducts[] = {"gemm", "conv",     "conv_transpose", "attention",
                                            "gram", "inverted", "positional"};
  if (std::find(std::begin(kProducts), std::end(kProducts), problem.family) == std::end(kProducts))
    return Units::vector;
  Units out = problem.integer("tf32", 0) ? Units::tf32 : Units::f32;
  for (size_t i = 0; i < std::min<size_t>(2, problem.inputs.size()); ++i) {
    if (problem.inputs[i].dtype == DType::f16) out = Units::f16;
    if (problem.inputs[i].dtype == DType::bf16) out = Units::bf16;
  }
  return out;
}

}  // namespace vitrail
