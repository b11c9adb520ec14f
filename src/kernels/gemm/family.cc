// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/family.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "kernels/gemm/samples.h"
#include "kernels/reference.h"

namespace vitrail {

void pack_panels(const float* dense, int64_t row, int64_t col, int64_t k, int64_t n,
                 float* packed) {
  for (int64_t j = 0; j < n; j += kGemmPanel) {
    const int64_t wide = std::min(kGemmPanel, n - j);
    for (int64_t l = 0; l < k; ++l, packed += kGemmPanel) {
      const float* from = dense + l * row + j * col;
      for (int64_t c = 0; c < wide; ++c) packed[c] = from[c * col];
      std::fill(packed + wide, packed + kGemmPanel, 0.0f);
    }
  }
}

double gemm_tolerance(int64_t count) {
  const auto k = static_cast<double>(count),
             chunk = static_cast<double>(std::min(count, kGemmChunk));
  return 4 + 0.41 * std::sqrt(chunk * k);
}

namespace {

Tensor pack(const Problem& problem, size_t index, const Tensor& dense) {
  if (index != 1) return dense;
  require(dense.rank() == 2, Code::internal, "gemm packs B of rank 2, not {} in {}",
          to_string(dense.dims()), problem.str());
  const int64_t k = dense.dims()[0], n = dense.dims()[1];
  Tensor out(DType::f32, {(n + kGemmPanel - 1) / kGemmPanel, k, kGemmPanel});
  pack_panels(dense.data<float>(), n, 1, k, n, out.mutable_data<float>());
  return out;
}

int64_t packed_bytes(const Problem& problem, size_t index) {
  if (index != 1) return -1;
  const Dims dims = to_dims(problem.inputs[1].dims);
  return (dims[1] + kGemmPanel - 1) / kGemmPanel * kGemmPanel * dims[0] * 4;
}

Tensor normalized_rows(const Problem& problem, const Tensor& a) {
  Tensor out(DType::f64, a.dims());
  const int64_t k = a.dims().back();
  for (int64_t at = 0; at < a.size(); at += k) {
    const double* from = a.data<double>() + at;
    double mean = 0, variance = 0;
    for (int64_t l = 0; l < k; ++l) mean += from[l] / static_cast<double>(k);
    for (int64_t l = 0; l < k; ++l)
      variance += (from[l] - mean) * (from[l] - mean) / static_cast<double>(k);
    for (int64_t l = 0; l < k; ++l)
      out.mutable_data<double>()[at + l] =
          (from[l] - mean) / std::sqrt(variance + problem.number("eps", 1e-5));
  }
  return out;
}

void reference(const BoundProblem& problem, const std::vector<Tensor>& inputs,
               std::vector<Tensor>& outputs) {
  Tensor own(DType::f64, problem.outputs[0].dims);
  const Dims& dims = own.dims();
  const int64_t n = dims.back(), m = dims[dims.size() - 2], k = inputs[0].dims().back();
  const int64_t batch = m * n == 0 ? 0 : own.size() / (m * n);
  const bool shared = problem.inputs[1].constant, normalized = is_normalized(*problem.problem);
  const Tensor rows = normalized ? normalized_rows(*problem.problem, inputs[0]) : inputs[0];
  double* to = own.mutable_data<double>();
  for (int64_t q = 0; q < batch; ++q) {
    const double* a = rows.data<double>() + q * m * k;
    const double* b = inputs[1].data<double>() + (shared ? 0 : q * k * n);
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = normalized ? inputs[2].data<double>()[j] : 0;
        for (int64_t l = 0; l < k; ++l) sum += a[i * k + l] * b[l * n + j];
        *to++ = sum;
      }
  }
  apply_epilogue(*problem.problem, own, inputs, outputs);
}

double flop(const BoundProblem& problem) {  // a norm's few are left out
  return 2.0 * static_cast<double>(element_count(problem.outputs[0].dims)) *
         static_cast<double>(problem.inputs[0].dims.back());
}

double tolerance(const BoundProblem& problem) {
  const int64_t k = problem.inputs[0].dims.back();
  if (!is_normalized(*problem.problem))
    return epilogue_tolerance(*problem.problem, gemm_tolerance(k));
  // Normalized rows deviate by 1, sqrt 3 times what gemm_tolerance counts on. Their elements are
  // off as layernorm's are, in the worst case all of a row the same way (its mean): times the
  // deviation of a sum of k weights.
  const double norm = (k < 16 ? 64 : 12) + static_cast<double>(k) / 32;
  return epilogue_tolerance(*problem.problem, std::sqrt(3.0) * gemm_tolerance(k) +
                                                  norm * std::sqrt(static_cast<double>(k) / 3));
}

}  // namespace

const KernelFamily gemm_family{.name = "gemm",
                               .pack = pack,
                               .reference = reference,
                               .samples = gemm_samples,
                               .flop = flop,
                               .tolerance = tolerance,
                               .bench = gemm_bench,
                               .packed_bytes = packed_bytes};

}  // namespace vitrail
