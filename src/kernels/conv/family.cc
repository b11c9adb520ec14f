// SPDX-License-Identifier: Apache-2.0
#include "kernels/conv/family.h"

#include "kernels/conv/bind.h"
#include "kernels/conv/samples.h"
#include "kernels/conv/taps.h"
#include "kernels/reference.h"

namespace vitrail {
namespace {

Tensor pack(const Problem& problem, size_t index, const Tensor& dense) {
  return index == 1 ? pack_taps(problem, false, dense) : dense;
}
int64_t packed_bytes(const Problem& problem, size_t index) {
  return index == 1 ? 4 * packed_taps(problem, false) : -1;
}

void reference(const BoundProblem& problem, const std::vector<Tensor>& inputs,
               std::vector<Tensor>& outputs) {
  const ConvInts ints(*problem.problem);
  Tensor own(DType::f64, problem.outputs[0].dims);
  const Dims &x = inputs[0].dims(), &w = inputs[1].dims();
  const double *from = inputs[0].data<double>(), *weight = inputs[1].data<double>();
  const int64_t group_o = own.dims()[3] / ints.group;
  double* to = own.mutable_data<double>();
  for_each_index(own.dims(), [&](const Dims& at) {
    const int64_t first_c = at[3] / group_o * w[1];
    double sum = 0;
    for (int64_t r = 0; r < w[2]; ++r)
      for (int64_t q = 0; q < w[3]; ++q) {
        const int64_t y = at[1] * ints.stride_h + r * ints.dilation_h - ints.pad_top;
        const int64_t z = at[2] * ints.stride_w + q * ints.dilation_w - ints.pad_left;
        if (y < 0 || y >= x[1] || z < 0 || z >= x[2]) continue;
        for (int64_t l = 0; l < w[1]; ++l)
          sum += weight[((at[3] * w[1] + l) * w[2] + r) * w[3] + q] *
                 from[((at[0] * x[1] + y) * x[2] + z) * x[3] + first_c + l];
      }
    *to++ = sum;
  });
  apply_epilogue(*problem.problem, own, inputs, outputs);
}

std::vector<Problem> samples() {
  const Expr n = Expr::symbol("n"), h = Expr::symbol("h"), w = Expr::symbol("w");
  std::vector<Problem> out;
  //             n  h  w   c   o  kh kw st pad dil g epilogue
  for (const ConvCase& c :
       {ConvCase{1, h, w, 31, 31, 3, 3, 1, 1, 1, 1, 5},
        ConvCase{n, 9, 11, 5, 17, 3, 3, 1, 1, 1, 1, 0},
        ConvCase{2, 23, 19, 3, 33, 7, 7, 4, 2, 1, 1, 1},
        ConvCase{2, 12, 10, 31, 62, 4, 4, 2, 1, 1, 1, 2},
        ConvCase{1, 15, 14, 16, 24, 3, 3, 2, 1, 1, 1, 3},
        ConvCase{1, 13, 17, 8, 12, 3, 2, 1, 2, 2, 1, 4},
        ConvCase{n, h, 19, 16, 24, 3, 3, 1, 1, 1, 1, 5},
        ConvCase{1, 21, w, 12, 10, 5, 5, 1, 2, 1, 1, 1},
        ConvCase{2, 9, 18, 48, 64, 3, 2, 1, 0, 1, 1, 2},
        ConvCase{2, h + 4, w + 4, 6, 9, 5, 3, 3, 1, 2, 1, 6},
        ConvCase{2, 10, 9, 12, 20, 3, 3, 1, 1, 1, 4, 7},
        ConvCase{1, 8, 8, 6, 6, 3, 3, 1, 1, 1, 6, 8},
        ConvCase{1, 6, 7, 200, 18, 3, 3, 1, 1, 1, 1, 1},
        ConvCase{1, 5, 6, 400, 18, 2, 2, 1, 1, 1, 1, 1},
        ConvCase{3, 9, 9, 10, 20, 1, 1, 2, 0, 1, 1, 0},
        ConvCase{1, 12, 13, 4, 5, 3, 3, 1, 0, 1, 1, 1},
        // a window larger than the image, and pads larger than the window
        ConvCase{1, 2, 3, 4, 5, 5, 5, 1, 2, 1, 1, 0}, ConvCase{1, 4, 4, 4, 5, 2, 2, 1, 3, 1, 1, 1}})
    out.push_back(conv_problem(c, false));
  // The network's input, channels first; an output, channels first; channels inside wider pixels.
  Problem first = conv_problem({n, 20, 22, 3, 16, 7, 7, 4, 2, 1, 1, 2}, false);
  first.inputs[0].strides = {20 * 22 * 3, 22, 1, 20 * 22};
  out.push_back(first);
  Problem last = conv_problem({n, 10, 12, 31, 31, 3, 3, 1, 1, 1, 1, 5}, false);
  last.outputs[0].strides = {10 * 12 * 31, 12, 1, 10 * 12};
  out.push_back(last);
  Problem wide = conv_problem({n, 10, 12, 14, 18, 3, 3, 1, 0, 1, 2, 5}, false);
  wide.inputs[0].strides = {10 * 12 * 20, 12 * 20, 20, 1};
  wide.outputs[0].strides = {8 * 10 * 40, 10 * 40, 40, 1};
  out.push_back(wide);
  // Unequal pads, strides and dilations.
  Problem uneven = conv_problem({1, 11, 12, 7, 13, 3, 4, 1, 0, 1, 1, 1}, false);
  uneven.ints = {
      {"stride_h", 2}, {"pad_top", 1}, {"pad_left", 2}, {"pad_bottom", 0}, {"dilation_w", 2}};
  for (Operand* operand : {&uneven.outputs[0], &uneven.inputs[2]}) operand->dims = {1, 5, 10, 13};
  uneven.outputs[0].strides = row_major(uneven.outputs[0].dims);
  out.push_back(uneven);
  return out;
}

std::vector<BenchCase> bench() {
  const auto at = [](const char* name, const ConvCase& c, bool channels_first = false) {
    Problem p = conv_problem(c, false);
    if (channels_first) p.inputs[0].strides = {c.h * c.w * c.c, c.w, 1, c.h * c.w};
    return BenchCase{name, p};
  };
  return {at("7x7s4 3>64 @224 NCHW", {1, 224, 224, 3, 64, 7, 7, 4, 2, 1, 1, 1}, true),
          at("3x3s2 64>192 @56", {1, 56, 56, 64, 192, 3, 3, 2, 1, 1, 1, 1}),
          at("3x3s2 192>384 @28", {1, 28, 28, 192, 384, 3, 3, 2, 1, 1, 1, 1}),
          at("3x3 3>31 @512x488 NCHW", {1, 512, 488, 3, 31, 3, 3, 1, 1, 1, 1, 0}, true),
          at("3x3 31>31 @512x488", {1, 512, 488, 31, 31, 3, 3, 1, 1, 1, 1, 0}),
          at("4x4s2 31>62 @512x488", {1, 512, 488, 31, 62, 4, 4, 2, 1, 1, 1, 0}),
          at("4x4s2 62>124 @256x244", {1, 256, 244, 62, 124, 4, 4, 2, 1, 1, 1, 0}),
          at("3x3 256>256 @50x67", {1, 50, 67, 256, 256, 3, 3, 1, 1, 1, 1, 1})};
}

double flop(const BoundProblem& problem) { return conv_flop(problem, false); }
double tolerance(const BoundProblem& problem) { return conv_tolerance(*problem.problem, false); }

}  // namespace

const KernelFamily conv_family{.name = "conv",
                               .pack = pack,
                               .reference = reference,
                               .samples = samples,
                               .flop = flop,
                               .tolerance = tolerance,
                               .bench = bench,
                               .packed_bytes = packed_bytes};

}  // namespace vitrail
