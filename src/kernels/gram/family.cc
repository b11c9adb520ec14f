// SPDX-License-Identifier: Apache-2.0
#include "kernels/gram/family.h"

#include <algorithm>
#include <cmath>

#include "kernels/gemm/family.h"

namespace vitrail {
namespace {

int64_t tokens_of(const Dims& x) { return element_count(Dims(x.begin() + 1, x.end() - 1)); }

void reference(const BoundProblem&, const std::vector<Tensor>& inputs,
               std::vector<Tensor>& outputs) {
  const Dims& x = inputs[0].dims();
  const int64_t c = x.back(), tokens = tokens_of(x);
  double* to = outputs[0].mutable_data<double>();
  for (int64_t b = 0; b < x[0]; ++b) {
    const double* from = inputs[0].data<double>() + b * tokens * c;
    for (int64_t i = 0; i < c; ++i)
      for (int64_t j = 0; j < c; ++j) {
        double sum = 0;
        for (int64_t t = 0; t < tokens; ++t) sum += from[t * c + i] * from[t * c + j];
        *to++ = sum;
      }
  }
}

Problem problem_of(Shape x) {
  Problem p;
  p.family = "gram";
  Operand in, out;
  in.strides = row_major(x);
  out.dims = {x[0], x.back(), x.back()};
  out.strides = row_major(out.dims);
  in.dims = std::move(x);
  p.inputs = {in};
  p.outputs = {out};
  p.epilogue_inputs = 1;
  return p;
}

std::vector<Problem> samples() {
  const Expr b = Expr::symbol("b"), h = Expr::symbol("h"), w = Expr::symbol("w");
  std::vector<Problem> out = {problem_of({b, h, w, 31}), problem_of({2, h, 62}),
                              problem_of({1, w, 124}),   problem_of({1, 5000, 7}),
                              problem_of({b, h, w, 1}),  problem_of({1, h, 33}),
                              problem_of({2, 2113, 16}), problem_of({1, 63, 70, 40})};
  // A window of channels inside wider rows, and channels first.
  Problem window = problem_of({b, h, 9, 20});
  window.inputs[0].strides = {h * 400, 400, 40, 1};
  out.push_back(window);
  Problem first = problem_of({b, h, w, 10});
  first.inputs[0].strides = {h * w * 10, w, 1, h * w};
  out.push_back(first);
  return out;
}

double flop(const BoundProblem& problem) {
  // As the symmetric product that it is.
  const Dims& x = problem.inputs[0].dims;
  return static_cast<double>(element_count(x)) * static_cast<double>(x.back() + 1);
}

double tolerance(const BoundProblem& problem) {
  // Off the diagonal as a matrix product with chunks of a tile (gemm_tolerance); on it the sums
  // grow as t / 3 and the same walk ends at 6 * sqrt(t^3 / 81) * 2^-24 of t / 3, 16 units for a
  // tile.
  const auto tokens = static_cast<double>(tokens_of(problem.inputs[0].dims));
  return 20 + 0.41 * std::sqrt(std::min(tokens, static_cast<double>(kGramTile)) * tokens);
}

std::vector<BenchCase> bench() {
  return {{"31 of 512x488", problem_of({1, 512, 488, 31})},
          {"62 of 256x244", problem_of({1, 256, 244, 62})},
          {"124 of 128x122", problem_of({1, 128, 122, 124})}};
}

}  // namespace

const KernelFamily gram_family{.name = "gram",
                               .pack = nullptr,
                               .reference = reference,
                               .samples = samples,
                               .flop = flop,
                               .tolerance = tolerance,
                               .bench = bench};

}  // namespace vitrail
