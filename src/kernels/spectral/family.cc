// SPDX-License-Identifier: Apache-2.0
#include "kernels/spectral/family.h"

#include <algorithm>
#include <cmath>

namespace vitrail {
namespace {

/// Straight from the definition, through q, k and v's products with G.
void reference(const BoundProblem& problem, const std::vector<Tensor>& inputs,
               std::vector<Tensor>& outputs) {
  const int64_t c = inputs[0].dims()[1], wide = inputs[1].dims()[1], o = inputs[5].dims()[1];
  const int64_t heads = problem.problem->integer("heads", 1), d = wide / heads;
  const double eps = problem.problem->number("eps", 1e-12);
  const double *wq = inputs[1].data<double>(), *wk = inputs[2].data<double>(),
               *wv = inputs[3].data<double>();
  const double *rescale = inputs[4].data<double>(), *proj = inputs[5].data<double>();
  double* to = outputs[0].mutable_data<double>();
  for (int64_t b = 0; b < inputs[0].dims()[0]; ++b) {
    const double* g = inputs[0].data<double>() + b * c * c;
    const auto form = [&](const double* x, int64_t i, const double* y, int64_t j) {
      double sum = 0;
      for (int64_t l = 0; l < c; ++l)
        for (int64_t r = 0; r < c; ++r) sum += x[l * wide + i] * g[l * c + r] * y[r * wide + j];
      return sum;
    };
    std::vector<double> q_norm, k_norm, mixed(static_cast<size_t>(c * wide), 0.0);
    for (int64_t j = 0; j < wide; ++j) {
      q_norm.push_back(std::max(std::sqrt(std::max(form(wq, j, wq, j), 0.0)), eps));
      k_norm.push_back(std::max(std::sqrt(std::max(form(wk, j, wk, j), 0.0)), eps));
    }
    for (int64_t i = 0; i < wide; ++i) {
      const int64_t first = i / d * d;
      std::vector<double> row;
      for (int64_t j = first; j < first + d; ++j)
        row.push_back(rescale[i / d] * form(wk, i, wq, j) /
                      (k_norm[static_cast<size_t>(i)] * q_norm[static_cast<size_t>(j)]));
      const double most = *std::max_element(row.begin(), row.end());
      double sum = 0;
      for (double& x : row) sum += x = std::exp(x - most);
      for (int64_t l = 0; l < c; ++l)
        for (int64_t j = 0; j < d; ++j)
          mixed[static_cast<size_t>(l * wide + i)] +=
              wv[l * wide + first + j] * row[static_cast<size_t>(j)] / sum;
    }
    for (int64_t l = 0; l < c; ++l)
      for (int64_t j = 0; j < o; ++j) {
        double sum = 0;
        for (int64_t i = 0; i < wide; ++i)
          sum += mixed[static_cast<size_t>(l * wide + i)] * proj[i * o + j];
        *to++ = sum;
      }
  }
}

Problem problem_of(const Expr& b, int64_t c, int64_t heads, int64_t d, int64_t o, double eps) {
  Problem p;
  p.family = "spectral";
  const auto dense = [](Shape dims, bool constant) {
    Operand out;
    out.strides = row_major(dims);
    out.dims = std::move(dims);
    out.constant = constant;
    return out;
  };
  const int64_t wide = heads * d;
  p.inputs = {dense({b, c, c}, false), dense({c, wide}, true), dense({c, wide}, true),
              dense({c, wide}, true),  dense({heads}, true),   dense({wide, o}, true)};
  p.outputs = {dense({b, c, o}, false)};
  p.ints = {{"heads", heads}};
  p.floats = {{"eps", eps}};
  p.epilogue_inputs = 6;
  return p;
}

std::vector<Problem> samples() {
  const Expr b = Expr::symbol("b");
  // Inputs are uniform, not a Gram matrix, so that half of the squared norms are negative: with the
  // least norm at 1 the logits stay moderate, with the usual one the rows become one-hot.
  std::vector<Problem> out = {problem_of(b, 31, 1, 31, 31, 1.0), problem_of(2, 62, 2, 31, 62, 1.0),
                              problem_of(1, 20, 4, 5, 17, 1.0), problem_of(1, 9, 3, 2, 4, 1e-12),
                              problem_of(3, 1, 1, 1, 1, 1.0)};
  Problem strided = problem_of(2, 12, 2, 6, 10, 1.0);
  strided.inputs[0].strides = {200, 16, 1};
  strided.outputs[0].strides = {400, 20, 2};
  for (size_t i = 1; i <= 3; ++i) strided.inputs[i].strides = {1, 12};  // a Linear's [out, in]
  out.push_back(strided);
  Problem turned = problem_of(1, 13, 1, 19, 9, 1.0);
  turned.inputs[0].strides = {1, 1, 13};
  out.push_back(turned);
  return out;
}

double flop(const BoundProblem& problem) {
  const auto b = static_cast<double>(problem.inputs[0].dims[0]),
             c = static_cast<double>(problem.inputs[0].dims[1]);
  const auto wide = static_cast<double>(problem.inputs[1].dims[1]),
             o = static_cast<double>(problem.outputs[0].dims[2]);
  const double depth = wide / static_cast<double>(problem.problem->integer("heads", 1));
  return 2 * b * (2 * c * c * wide + 2 * c * wide * depth + c * wide * o);
}

double tolerance(const BoundProblem&) {
  // The result is rounded to float32 once; float64 inside leaves nothing to see even where a logit
  // of 1e6 magnifies an error of 1e-15, and exponentials are good to 1e-11, 1e-4 of a unit.
  // Products in float32 would be seen: G is no Gram matrix here, logits reach 12 and more, and
  // rounding them alone changes a softmax by up to 6 units; sums of 62 terms of the last product
  // lose some 3.
  return 2;
}

std::vector<BenchCase> bench() {
  return {{"31 in 1 head", problem_of(1, 31, 1, 31, 31, 1e-12)},
          {"62 in 2 heads", problem_of(1, 62, 2, 31, 62, 1e-12)},
          {"124 in 4 heads", problem_of(1, 124, 4, 31, 124, 1e-12)}};
}

}  // namespace

const KernelFamily spectral_family{.name = "spectral",
                                   .pack = nullptr,
                                   .reference = reference,
                                   .samples = samples,
                                   .flop = flop,
                                   .tolerance = tolerance,
                                   .bench = bench};

}  // namespace vitrail
