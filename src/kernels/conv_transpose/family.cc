// SPDX-License-Identifier: Apache-2.0
#include "kernels/conv_transpose/family.h"

#include <algorithm>

#include "kernels/conv/bind.h"
#include "kernels/conv/samples.h"
#include "kernels/conv/taps.h"
#include "kernels/reference.h"

namespace vitrail {
namespace {

Tensor pack(const Problem& problem, size_t index, const Tensor& dense) {
  return index == 1 ? pack_taps(problem, true, dense) : dense;
}
int64_t packed_bytes(const Problem& problem, size_t index) {
  return index == 1 ? 4 * packed_taps(problem, true) : -1;
}

/// As the definition says it: every input pixel adds to the outputs under its window.
void reference(const BoundProblem& problem, const std::vector<Tensor>& inputs,
               std::vector<Tensor>& outputs) {
  const ConvInts ints(*problem.problem);
  Tensor own(DType::f64, problem.outputs[0].dims);
  const Dims &x = inputs[0].dims(), &w = inputs[1].dims(), &o = own.dims();
  const double *from = inputs[0].data<double>(), *weight = inputs[1].data<double>();
  double* to = own.mutable_data<double>();
  std::fill(to, to + own.size(), 0.0);
  const int64_t group_c = x[3] / ints.group;
  for_each_index(x, [&](const Dims& at) {
    const double value = *from++;
    const int64_t first_o = at[3] / group_c * w[1];
    for (int64_t r = 0; r < w[2]; ++r)
      for (int64_t q = 0; q < w[3]; ++q) {
        const int64_t y = at[1] * ints.stride_h + r * ints.dilation_h - ints.pad_top;
        const int64_t z = at[2] * ints.stride_w + q * ints.dilation_w - ints.pad_left;
        if (y < 0 || y >= o[1] || z < 0 || z >= o[2]) continue;
        for (int64_t j = 0; j < w[1]; ++j)
          to[((at[0] * o[1] + y) * o[2] + z) * o[3] + first_o + j] +=
              value * weight[((at[3] * w[1] + j) * w[2] + r) * w[3] + q];
      }
  });
  apply_epilogue(*problem.problem, own, inputs, outputs);
}

std::vector<Problem> samples() {
  const Expr n = Expr::symbol("n"), h = Expr::symbol("h"), w = Expr::symbol("w");
  std::vector<Problem> out;
  //             n  h  w   c   o  kh kw st pad dil g epilogue
  for (const ConvCase& c :
       {ConvCase{1, h, w, 62, 31, 2, 2, 2, 0, 1, 1, 1},
        ConvCase{n, 5, 7, 124, 62, 2, 2, 2, 0, 1, 1, 0},
        ConvCase{2, 6, 5, 7, 9, 3, 3, 2, 1, 1, 1, 2}, ConvCase{1, 6, 5, 7, 9, 4, 4, 2, 1, 1, 1, 5},
        ConvCase{1, 8, 9, 5, 6, 3, 3, 1, 1, 1, 1, 6}, ConvCase{1, 5, 5, 4, 3, 3, 3, 2, 0, 2, 1, 1},
        ConvCase{1, 5, 6, 8, 12, 4, 4, 4, 0, 1, 4, 7},
        ConvCase{1, 7, 6, 9, 10, 5, 3, 3, 2, 1, 1, 8}})
    out.push_back(conv_problem(c, true));
  // Output padding; outputs that no window reaches, where only the bias is left.
  out.push_back(conv_problem({1, 6, 5, 7, 9, 3, 3, 2, 1, 1, 1, 1}, true, 1));
  out.push_back(conv_problem({1, 6, 5, 7, 20, 2, 2, 3, 0, 1, 1, 1}, true));
  // Into the left half of a concatenation.
  Problem half = conv_problem({n, 6, 5, 20, 10, 2, 2, 2, 0, 1, 1, 1}, true);
  half.outputs[0].strides = {12 * 10 * 20, 10 * 20, 20, 1};
  out.push_back(half);
  return out;
}

std::vector<BenchCase> bench() {
  return {
      {"2x2s2 62>31 @256x244", conv_problem({1, 256, 244, 62, 31, 2, 2, 2, 0, 1, 1, 1}, true)},
      {"2x2s2 124>62 @128x122", conv_problem({1, 128, 122, 124, 62, 2, 2, 2, 0, 1, 1, 1}, true)}};
}

double flop(const BoundProblem& problem) { return conv_flop(problem, true); }
double tolerance(const BoundProblem& problem) { return conv_tolerance(*problem.problem, true); }

}  // namespace

const KernelFamily conv_transpose_family{.name = "conv_transpose",
                                         .pack = pack,
                                         .reference = reference,
                                         .samples = samples,
                                         .flop = flop,
                                         .tolerance = tolerance,
                                         .bench = bench,
                                         .packed_bytes = packed_bytes};

}  // namespace vitrail
