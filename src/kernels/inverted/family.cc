// SPDX-License-Identifier: Apache-2.0
#include "kernels/inverted/family.h"

#include <algorithm>
#include <cmath>

#include "kernels/gemm/family.h"
#include "kernels/gemm/samples.h"
#include "kernels/inverted/bind.h"
#include "kernels/reference.h"

namespace vitrail {
namespace {

Tensor pack(const Problem&, size_t index, const Tensor& dense) {
  const Dims& d = dense.dims();
  if (index == 1 || index == 5) {
    Tensor out(DType::f32, {(d[1] + kGemmPanel - 1) / kGemmPanel, d[0], kGemmPanel});
    pack_panels(dense.data<float>(), d[1], 1, d[0], d[1], out.mutable_data<float>());
    return out;
  }
  if (index != 3) return dense;
  // [kh * kw][e up to whole panels], channels last as the image is.
  const int64_t taps = d[2] * d[3], padded = (d[0] + kGemmPanel - 1) / kGemmPanel * kGemmPanel;
  Tensor out(DType::f32, {taps, padded});
  float* to = out.mutable_data<float>();
  for (int64_t t = 0; t < taps; ++t)
    for (int64_t j = 0; j < padded; ++j)
      *to++ = j < d[0] ? dense.data<float>()[j * taps + t] : 0.0f;
  return out;
}

int64_t packed_bytes(const Problem& problem, size_t index) {
  const auto panels = [](int64_t n) { return (n + kGemmPanel - 1) / kGemmPanel * kGemmPanel; };
  const Dims d = to_dims(problem.inputs[index].dims);
  if (index == 1 || index == 5) return 4 * d[0] * panels(d[1]);
  return index == 3 ? 4 * d[2] * d[3] * panels(d[0]) : -1;
}

void reference(const BoundProblem& problem, const std::vector<Tensor>& inputs,
               std::vector<Tensor>& outputs) {
  const Problem& p = *problem.problem;
  const Dims &x = inputs[0].dims(), &w = inputs[3].dims();
  const int64_t c = x[3], e = w[0], kh = w[2], kw = w[3];
  const auto activate = [&](const char* key, const char* imm, double value) {
    const Pointwise op = inverted_activation(p, key);
    return op == Pointwise::constant ? value : evaluate(op, value, 0, p.number(imm, 1));
  };
  Tensor hidden(DType::f64, {x[0], x[1], x[2], e});
  for (int64_t pixel = 0; pixel < x[0] * x[1] * x[2]; ++pixel) {
    std::vector<double> v(inputs[0].data<double>() + pixel * c,
                          inputs[0].data<double>() + (pixel + 1) * c);
    if (p.integer("normalize", 0)) {
      double mean = 0, variance = 0;
      for (double a : v) mean += a / static_cast<double>(c);
      for (double a : v) variance += (a - mean) * (a - mean) / static_cast<double>(c);
      for (double& a : v) a = (a - mean) / std::sqrt(variance + p.number("eps", 1e-5));
    }
    for (int64_t j = 0; j < e; ++j) {
      double sum = inputs[2].data<double>()[j];
      for (int64_t l = 0; l < c; ++l)
        sum += v[static_cast<size_t>(l)] * inputs[1].data<double>()[l * e + j];
      hidden.mutable_data<double>()[pixel * e + j] = activate("activation1", "imm1", sum);
    }
  }
  Tensor own(DType::f64, problem.outputs[0].dims);
  const Dims& o = own.dims();
  std::vector<double> middle(static_cast<size_t>(e));
  double* to = own.mutable_data<double>();
  for_each_index({o[0], o[1], o[2]}, [&](const Dims& at) {
    for (int64_t j = 0; j < e; ++j) {
      double sum = inputs[4].data<double>()[j];
      for (int64_t r = 0; r < kh; ++r)
        for (int64_t q = 0; q < kw; ++q) {
          const int64_t y = at[1] * p.integer("stride_h", 1) + r - p.integer("pad_top", 0);
          const int64_t z = at[2] * p.integer("stride_w", 1) + q - p.integer("pad_left", 0);
          if (y < 0 || y >= x[1] || z < 0 || z >= x[2]) continue;
          sum += hidden.data<double>()[((at[0] * x[1] + y) * x[2] + z) * e + j] *
                 inputs[3].data<double>()[(j * kh + r) * kw + q];
        }
      middle[static_cast<size_t>(j)] = activate("activation2", "imm2", sum);
    }
    for (int64_t i = 0; i < o[3]; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < e; ++j)
        sum += middle[static_cast<size_t>(j)] * inputs[5].data<double>()[j * o[3] + i];
      *to++ = sum;
    }
  });
  apply_epilogue(p, own, inputs, outputs);
}

struct Case {
  Expr n, h, w;
  int64_t c, e, o, kernel, stride, pad;
  Pointwise first, second;
  bool normalize;
  int epilogue;
};

Problem problem_of(const Case& k) {
  Problem p;
  p.family = "inverted";
  const auto dense = [](Shape dims, bool constant) {
    Operand out;
    out.strides = row_major(dims);
    out.dims = std::move(dims);
    out.constant = constant;
    return out;
  };
  const auto extent = [&](const Expr& in) {
    return floordiv(in + (2 * k.pad - k.kernel), k.stride) + 1;
  };
  p.inputs = {
      dense({k.n, k.h, k.w, k.c}, false),        dense({k.c, k.e}, true), dense({k.e}, true),
      dense({k.e, 1, k.kernel, k.kernel}, true), dense({k.e}, true),      dense({k.e, k.o}, true)};
  p.outputs = {dense({k.n, extent(k.h), extent(k.w), k.o}, false)};
  p.epilogue_inputs = 6;
  p.ints = {{"stride_h", k.stride},
            {"stride_w", k.stride},
            {"pad_top", k.pad},
            {"pad_left", k.pad},
            {"normalize", k.normalize}};
  if (k.first != Pointwise::constant) p.ints["activation1"] = static_cast<int64_t>(k.first);
  if (k.second != Pointwise::constant) p.ints["activation2"] = static_cast<int64_t>(k.second);
  add_sample_epilogue(p, k.epilogue);
  return p;
}

std::vector<Problem> samples() {
  using enum Pointwise;
  const Expr n = Expr::symbol("n"), h = Expr::symbol("h"), w = Expr::symbol("w");
  std::vector<Problem> out;
  for (const Case& k : {Case{1, h, w, 31, 124, 31, 3, 1, 1, gelu, gelu, true, 5},
                        Case{n, 7, 9, 16, 64, 24, 3, 2, 1, swish, swish, false, 1},
                        Case{2, h, 5, 5, 20, 9, 5, 1, 2, relu, constant, true, 0},
                        Case{1, 12, 13, 9, 33, 40, 3, 1, 0, constant, gelu, false, 7},
                        Case{1, 6, 40, 8, 17, 3, 1, 3, 0, gelu, relu, false, 8},
                        Case{1, 3, 4, 400, 12, 7, 3, 1, 1, gelu, swish, false, 2}})
    out.push_back(problem_of(k));
  Problem wide = problem_of({n, 6, 7, 12, 30, 10, 3, 1, 1, gelu, gelu, false, 5});
  wide.inputs[0].strides = {6 * 7 * 20, 7 * 20, 20, 1};
  wide.outputs[0].strides = {6 * 7 * 10, 7, 1, 6 * 7};
  out.push_back(wide);
  return out;
}

double flop(const BoundProblem& problem) {
  const Dims &x = problem.inputs[0].dims, &w = problem.inputs[3].dims, &o = problem.outputs[0].dims;
  const auto e = static_cast<double>(w[0]);
  const auto in = static_cast<double>(x[0] * x[1] * x[2]);
  const auto out = static_cast<double>(o[0] * o[1] * o[2]);
  return 2 * e * (in * static_cast<double>(x[3]) + out * static_cast<double>(w[2] * w[3] + o[3]));
}

double tolerance(const BoundProblem& problem) {
  // Standard deviations under uniform inputs: hidden sqrt(c)/3 (sqrt(c/3) of normalized pixels),
  // times sqrt(taps/3) after the window, times sqrt(e/3) after the projection. Each product adds an
  // error of gemm_tolerance relative to its own deviation of sqrt(K)/3, activations 4 units, the
  // norm 4.
  const Problem& p = *problem.problem;
  const auto c = static_cast<double>(problem.inputs[0].dims[3]);
  const auto e = static_cast<double>(problem.inputs[3].dims[0]);
  const auto taps = static_cast<double>(problem.inputs[3].dims[2] * problem.inputs[3].dims[3]);
  const double hidden = std::sqrt(p.integer("normalize", 0) ? c / 3 : c / 9);
  const double scale =
      std::max(1.0, hidden) * std::max(1.0, std::sqrt(taps / 3)) * std::max(1.0, std::sqrt(e / 3));
  const auto relative = [](double k) {
    return gemm_tolerance(static_cast<int64_t>(k)) / std::max(1.0, std::sqrt(k) / 3);
  };
  return epilogue_tolerance(p, scale * (relative(c) + relative(taps) + relative(e) + 12));
}

std::vector<BenchCase> bench() {
  using enum Pointwise;
  return {
      {"31x124x31 @512x488", problem_of({1, 512, 488, 31, 124, 31, 3, 1, 1, gelu, gelu, true, 5})},
      {"62x248x62 @256x244", problem_of({1, 256, 244, 62, 248, 62, 3, 1, 1, gelu, gelu, true, 5})},
      {"124x496x124 @128x122",
       problem_of({1, 128, 122, 124, 496, 124, 3, 1, 1, gelu, gelu, true, 5})},
      {"MobileViT 64x256x64 @64",
       problem_of({1, 64, 64, 64, 256, 64, 3, 1, 1, swish, swish, false, 5})}};
}

}  // namespace

const KernelFamily inverted_family{.name = "inverted",
                                   .pack = pack,
                                   .reference = reference,
                                   .samples = samples,
                                   .flop = flop,
                                   .tolerance = tolerance,
                                   .bench = bench,
                                   .packed_bytes = packed_bytes};

}  // namespace vitrail
