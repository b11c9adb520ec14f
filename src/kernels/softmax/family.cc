// SPDX-License-Identifier: Apache-2.0
#include "kernels/softmax/family.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/reference.h"
#include "kernels/samples.h"

namespace vitrail {
namespace {
void reference(const BoundProblem& problem, const std::vector<Tensor>& inputs,
               std::vector<Tensor>& outputs) {
  const Tensor& x = inputs.at(0);
  Tensor own(DType::f64, x.dims());
  const int64_t c = x.dims().back();
  for (int64_t row = 0; row < x.size(); row += c) {
    const double* from = x.data<double>() + row;
    double* to = own.mutable_data<double>() + row;
    const double most = *std::max_element(from, from + c);
    double sum = 0;
    for (int64_t j = 0; j < c; ++j) sum += to[j] = std::exp(from[j] - most);
    for (int64_t j = 0; j < c; ++j) to[j] /= sum;
  }
  apply_epilogue(*problem.problem, own, inputs, outputs);
}

std::vector<Problem> samples() {
  const Expr n = Expr::symbol("N");
  std::vector<Problem> out;
  for (int64_t c : {1, 3, 16, 49, 197, 1030})
    out.push_back(sample_problem("softmax", {sample({n, c})}, sample({n, c})));
  out.push_back(
      sample_problem("softmax", {window({2, n, 5, 33}, {3, n + 1, 6, 40})}, sample({2, n, 5, 33})));
  // Columns apart in the output: written as a transposed view.
  out.push_back(sample_problem("softmax", {sample({n, 21})}, strided({n, 21}, {1, n})));
  out.push_back(with_epilogue(sample_problem("softmax", {sample({n, 30})}, sample({n, 30})),
                              EpilogueForm::activation));
  return out;
}

double flop(const BoundProblem& problem) {
  constexpr double kPerElement = 20;  // an exponential is about 16
  return kPerElement * static_cast<double>(element_count(problem.outputs[0].dims));
}
double tolerance(const BoundProblem& problem) {
  // Results are at most 1. exp is good to 1 ulp of a difference rounded once, the division adds
  // one; the sum's lanes add c / 16 roundings of parts of the sum.
  return epilogue_tolerance(*problem.problem,
                            4 + static_cast<double>(problem.inputs[0].dims.back()) / 32);
}
std::vector<BenchCase> bench() {
  return {{"attention 6x197x197",
           sample_problem("softmax", {sample({6, 197, 197})}, sample({6, 197, 197}))},
          {"attention 3136x784",
           sample_problem("softmax", {sample({3136, 784})}, sample({3136, 784}))}};
}
}  // namespace

Refusal softmax_accepts(const Problem& problem) {
  if (problem.inputs.empty() || problem.outputs.empty()) return "needs one input and an output";
  if (problem.epilogue.inputs > 1 && problem.epilogue_inputs < 1)
    return "the epilogue's operands start before x ends";
  if (Refusal why = check_rows(problem); !why.empty()) return why;
  if (Refusal why = check_epilogue(problem); !why.empty()) return why;
  if (Refusal why = check_epilogue_size(problem.epilogue); !why.empty()) return why;
  const Operand& x = problem.inputs[0];
  if (x.dtype != DType::f32) return fmt::format("input is {}, not f32", name_of(x.dtype));
  if (x.dims.empty() || x.dims != problem.outputs[0].dims)
    return "input and output differ in extents, or are scalars";
  if (!x.strides.back().is(1)) return "the input's last stride is not 1";
  return {};
}
std::vector<Tactic> softmax_tactics(const BoundProblem&, const Machine&, int) { return {{}}; }

Launch softmax_bind(const BoundProblem& problem, const Tactic&, const Machine&, int workers) {
  constexpr double kNanoseconds = 0.5;
  const RowState state = bind_rows(problem, kNanoseconds, workers);
  Launch launch;
  launch.tasks = row_tasks(state);
  launch.scratch_bytes = row_scratch(state);
  append_state(launch.state, state);
  return launch;
}

extern const KernelFamily softmax_family{"softmax", nullptr,   reference, samples,
                                         flop,      tolerance, bench};

}  // namespace vitrail
