// SPDX-License-Identifier: Apache-2.0
#include "kernels/positional/family.h"

#include <algorithm>
#include <cmath>

#include "kernels/gemm/family.h"
#include "kernels/gemm/samples.h"
#include "kernels/positional/bind.h"
#include "kernels/reference.h"

namespace vitrail {
namespace {

constexpr int64_t kTaps = 9;
int64_t whole_panels(int64_t n) { return (n + kGemmPanel - 1) / kGemmPanel * kGemmPanel; }

Tensor pack(const Problem&, size_t index, const Tensor& dense) {
  const Dims& d = dense.dims();
  if (index == 1) {
    Tensor out(DType::f32, {whole_panels(d[1]) / kGemmPanel, d[0], kGemmPanel});
    pack_panels(dense.data<float>(), d[1], 1, d[0], d[1], out.mutable_data<float>());
    return out;
  }
  if (index != 2 && index != 4) return dense;
  // [taps][e up to whole panels], channels last as the image is.
  Tensor out(DType::f32, {kTaps, whole_panels(d[0])});
  float* to = out.mutable_data<float>();
  for (int64_t t = 0; t < kTaps; ++t)
    for (int64_t j = 0; j < whole_panels(d[0]); ++j)
      *to++ = j < d[0] ? dense.data<float>()[j * kTaps + t] : 0.0f;
  return out;
}

int64_t packed_bytes(const Problem& problem, size_t index) {
  const Dims w = to_dims(problem.inputs[1].dims);
  if (index == 1) return 4 * w[0] * whole_panels(w[1]);
  return index == 2 || index == 4 ? 4 * kTaps * whole_panels(w[1]) : -1;
}

/// [n, h, w, e] through one 3 x 3 window a channel, then the bias.
std::vector<double> depthwise(const std::vector<double>& x, const Dims& d, const Tensor& weight,
                              const Tensor& bias) {
  std::vector<double> out(x.size());
  double* to = out.data();
  for_each_index(d, [&](const Dims& at) {
    double sum = bias.data<double>()[at[3]];
    for (int64_t r = 0; r < 3; ++r)
      for (int64_t q = 0; q < 3; ++q) {
        const int64_t y = at[1] + r - 1, z = at[2] + q - 1;
        if (y < 0 || y >= d[1] || z < 0 || z >= d[2]) continue;
        sum += x[static_cast<size_t>(((at[0] * d[1] + y) * d[2] + z) * d[3] + at[3])] *
               weight.data<double>()[at[3] * kTaps + r * 3 + q];
      }
    *to++ = sum;
  });
  return out;
}

void reference(const BoundProblem& problem, const std::vector<Tensor>& inputs,
               std::vector<Tensor>& outputs) {
  const Problem& p = *problem.problem;
  const Dims& d = problem.outputs[0].dims;
  const int64_t c = inputs[0].dims()[3], e = d[3], pixels = d[1] * d[2];
  // Each pixel times a matrix: `of` an image's first element.
  const auto product = [&](const Tensor& matrix, int64_t per_image) {
    std::vector<double> out(static_cast<size_t>(d[0] * pixels * e));
    for (int64_t i = 0; i < d[0] * pixels; ++i)
      for (int64_t j = 0; j < e; ++j) {
        double sum = 0;
        for (int64_t l = 0; l < c; ++l)
          sum += inputs[0].data<double>()[i * c + l] *
                 matrix.data<double>()[i / pixels * per_image + l * e + j];
        out[static_cast<size_t>(i * e + j)] = sum;
      }
    return out;
  };
  std::vector<double> middle = depthwise(product(inputs[1], 0), d, inputs[2], inputs[3]);
  if (const Pointwise op = positional_activation(p); op != Pointwise::constant)
    for (double& v : middle) v = evaluate(op, v, 0, p.number("imm", 1));
  const std::vector<double> branch = depthwise(middle, d, inputs[4], inputs[5]),
                            mixed = product(inputs[6], c * e);
  Tensor own(DType::f64, d);
  for (size_t i = 0; i < branch.size(); ++i) own.mutable_data<double>()[i] = branch[i] + mixed[i];
  apply_epilogue(p, own, inputs, outputs);
}

Problem problem_of(const Expr& n, const Expr& h, const Expr& w, int64_t c, int64_t e,
                   Pointwise activation, int epilogue) {
  Problem p;
  p.family = "positional";
  const auto dense = [](Shape dims, bool constant) {
    Operand out;
    out.strides = row_major(dims);
    out.dims = std::move(dims);
    out.constant = constant;
    return out;
  };
  p.inputs = {dense({n, h, w, c}, false), dense({c, e}, true),       dense({e, 1, 3, 3}, true),
              dense({e}, true),           dense({e, 1, 3, 3}, true), dense({e}, true),
              dense({n, c, e}, false)};
  p.outputs = {dense({n, h, w, e}, false)};
  p.epilogue_inputs = 7;
  if (activation != Pointwise::constant) p.ints["activation"] = static_cast<int64_t>(activation);
  add_sample_epilogue(p, epilogue);
  return p;
}

std::vector<Problem> samples() {
  using enum Pointwise;
  const Expr n = Expr::symbol("n"), h = Expr::symbol("h"), w = Expr::symbol("w");
  std::vector<Problem> out = {
      problem_of(1, h, w, 31, 31, gelu, 5),   problem_of(n, 7, 9, 16, 24, swish, 1),
      problem_of(2, h, 1, 5, 9, relu, 0),     problem_of(1, 1, w, 9, 40, constant, 7),
      problem_of(1, 40, 140, 8, 17, gelu, 8), problem_of(1, 3, 4, 400, 12, swish, 2),
      problem_of(n, 70, 3, 12, 16, relu, 4)};
  Problem wide = problem_of(n, 6, 7, 12, 30, gelu, 5);
  wide.inputs[0].strides = {6 * 7 * 20, 7 * 20, 20, 1};
  wide.inputs[6].strides = {12 * 34, 34, 1};
  wide.outputs[0].strides = {6 * 7 * 30, 7, 1, 6 * 7};
  out.push_back(wide);
  return out;
}

double flop(const BoundProblem& problem) {
  const Dims &x = problem.inputs[0].dims, &o = problem.outputs[0].dims;
  return 4 * static_cast<double>(element_count(o)) * static_cast<double>(x[3] + kTaps);
}

double tolerance(const BoundProblem& problem) {
  // Standard deviations under uniform inputs: sqrt(c)/3 of either product, times sqrt(9/3) after
  // each window. Each sum adds an error of gemm_tolerance relative to its own deviation of
  // sqrt(K)/3, the activation 4 units.
  const auto c = problem.inputs[0].dims[3];
  const double scale = 3 * std::max(1.0, std::sqrt(static_cast<double>(c)) / 3);
  const auto relative = [](int64_t k) {
    return gemm_tolerance(k) / std::max(1.0, std::sqrt(static_cast<double>(k)) / 3);
  };
  return epilogue_tolerance(*problem.problem, scale * (2 * relative(c) + 2 * relative(kTaps) + 4));
}

std::vector<BenchCase> bench() {
  using enum Pointwise;
  return {{"31 @512x488", problem_of(1, 512, 488, 31, 31, gelu, 5)},
          {"62 @256x244", problem_of(1, 256, 244, 62, 62, gelu, 5)},
          {"124 @128x122", problem_of(1, 128, 122, 124, 124, gelu, 5)}};
}

}  // namespace

const KernelFamily positional_family{.name = "positional",
                                     .pack = pack,
                                     .reference = reference,
                                     .samples = samples,
                                     .flop = flop,
                                     .tolerance = tolerance,
                                     .bench = bench,
                                     .packed_bytes = packed_bytes};

}  // namespace vitrail
