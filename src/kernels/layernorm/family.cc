// SPDX-License-Identifier: Apache-2.0
#include "kernels/layernorm/family.h"

#include <algorithm>
#include <cmath>

#include "kernels/reference.h"
#include "kernels/samples.h"

namespace vitrail {
namespace {
int scale_index(const Problem& problem) { return problem.integer("has_scale", 0) != 0 ? 1 : -1; }
int bias_index(const Problem& problem) {
  if (problem.integer("has_bias", 0) == 0) return -1;
  return scale_index(problem) > 0 ? 2 : 1;
}

void reference(const BoundProblem& problem, const std::vector<Tensor>& inputs,
               std::vector<Tensor>& outputs) {
  const Problem& p = *problem.problem;
  const Tensor& x = inputs.at(0);
  const int scale = scale_index(p), bias = bias_index(p);
  const int64_t c = x.dims().back();
  Tensor own(DType::f64, x.dims());
  for (int64_t row = 0; row < x.size(); row += c) {
    const double* from = x.data<double>() + row;
    double* to = own.mutable_data<double>() + row;
    double mean = 0, variance = 0;
    for (int64_t j = 0; j < c; ++j) mean += from[j] / static_cast<double>(c);
    for (int64_t j = 0; j < c; ++j)
      variance += (from[j] - mean) * (from[j] - mean) / static_cast<double>(c);
    for (int64_t j = 0; j < c; ++j) {
      to[j] = (from[j] - mean) / std::sqrt(variance + p.number("eps", 1e-5));
      if (scale > 0) to[j] *= inputs[static_cast<size_t>(scale)].data<double>()[j];
      if (bias > 0) to[j] += inputs[static_cast<size_t>(bias)].data<double>()[j];
    }
  }
  apply_epilogue(p, own, inputs, outputs);
}

Problem make(const Operand& x, const Operand& out, bool scale, bool bias) {
  std::vector<Operand> inputs{x};
  Operand row = sample({x.dims.back()});
  row.constant = true;
  if (scale) inputs.push_back(row);
  if (bias) inputs.push_back(row);
  Problem p = sample_problem("layernorm", inputs, out);
  p.ints = {{"has_scale", scale}, {"has_bias", bias}};
  p.floats = {{"eps", 1e-5}};
  return p;
}

std::vector<Problem> samples() {
  const Expr n = Expr::symbol("N");
  std::vector<Problem> out;
  for (int64_t c : {5, 31, 64, 96, 197, 384, 4100})
    out.push_back(make(sample({n, c}), sample({n, c}), c != 96, c != 64));
  out.push_back(
      make(window({2, n, 33}, {2, n + 3, 40}), window({2, n, 33}, {2, n, 36}), true, true));
  out.push_back(make(sample({n, 21}), strided({n, 21}, {1, n}), true, false));
  for (EpilogueForm form : kEpilogueForms)
    out.push_back(with_epilogue(make(sample({n, 30}), sample({n, 30}), true, true), form));
  return out;
}

double flop(const BoundProblem& problem) {
  constexpr double kPerElement = 8;
  return kPerElement * static_cast<double>(element_count(problem.outputs[0].dims));
}
double tolerance(const BoundProblem& problem) {
  // Uniform inputs deviate by about 0.58, so 1 / sqrt(variance) is about 1.7, and more for short
  // rows that happen to be even. The mean is off by c / 32 half units at most; its error and that
  // of each difference grow by that factor.
  const auto c = static_cast<double>(problem.inputs[0].dims.back());
  return epilogue_tolerance(*problem.problem, (c < 16 ? 64 : 12) + c / 32);
}
std::vector<BenchCase> bench() {
  const auto at = [](int64_t rows, int64_t c) {
    return make(sample({rows, c}), sample({rows, c}), true, true);
  };
  return {{"cvt13 stage 1 3136x64", at(3136, 64)},
          {"cvt13 stage 3 197x384", at(197, 384)},
          {"mst++ 131072x31", at(131072, 31)}};
}
}  // namespace

Refusal layernorm_accepts(const Problem& problem) {
  if (problem.inputs.empty() || problem.outputs.empty()) return "needs one input and an output";
  const int last = std::max(scale_index(problem), bias_index(problem));
  if (last >= static_cast<int>(problem.inputs.size()))
    return "scale or bias is missing among the inputs";
  if (problem.epilogue.inputs > 1 && problem.epilogue_inputs < std::max(last, 0) + 1)
    return "the epilogue's operands start before the layer's own inputs end";
  if (Refusal why = check_rows(problem); !why.empty()) return why;
  if (Refusal why = check_epilogue(problem); !why.empty()) return why;
  if (Refusal why = check_epilogue_size(problem.epilogue); !why.empty()) return why;
  const Operand& x = problem.inputs[0];
  if (x.dims.empty() || x.dims != problem.outputs[0].dims)
    return "input and output differ in extents, or are scalars";
  if (!x.strides.back().is(1)) return "the input's last stride is not 1";
  for (int i = 0; i <= last; ++i) {
    const Operand& in = problem.inputs[static_cast<size_t>(i)];
    if (in.dtype != DType::f32) return fmt::format("input {} is {}, not f32", i, name_of(in.dtype));
    if (i > 0 && (in.dims != Shape{x.dims.back()} || !in.strides[0].is(1)))
      return fmt::format("scale or bias is {} with strides {}, expected [{}] and [1]",
                         to_string(in.dims), to_string(in.strides), x.dims.back().str());
  }
  return {};
}
std::vector<Tactic> layernorm_tactics(const BoundProblem&, const Machine&, int) { return {{}}; }

Launch layernorm_bind(const BoundProblem& problem, const Tactic&, const Machine&, int workers) {
  constexpr double kNanoseconds = 0.2;
  LayernormState state{};
  state.rows = bind_rows(problem, kNanoseconds, workers);
  state.scale = scale_index(*problem.problem);
  state.bias = bias_index(*problem.problem);
  state.eps = static_cast<float>(problem.problem->number("eps", 1e-5));
  state.inverse_count = 1.0f / static_cast<float>(state.rows.cols);
  Launch launch;
  launch.tasks = row_tasks(state.rows);
  launch.scratch_bytes = row_scratch(state.rows);
  append_state(launch.state, state);
  return launch;
}

extern const KernelFamily layernorm_family{"layernorm", nullptr,   reference, samples,
                                           flop,        tolerance, bench};

}  // namespace vitrail
