// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

#include "vitrail/graph.h"

namespace vitrail {

/// The graph by the plain definitions of its ops, in float32 or float64. Inputs by name; outputs in
/// the model's order.
NamedTensors run_reference(const Graph& graph, const NamedTensors& inputs, DType precision = DType::f32);

/// Differences of two tensors, b the reference. Relative errors are divided by |b|; elements where
/// b is 0 and a is not count as infinite there.
struct Difference {
  struct Spread {
    double min = 0, mean = 0, median = 0, p99 = 0, max = 0;
  };
  Spread abs, rel;
  double cosine = 1;    ///< 1 for two zero tensors
  double sqnr_db = 0;   ///< 10 log10(sum b^2 / sum (a - b)^2); infinite when equal
  double top1 = 1;      ///< share of rows (last axis) with the same largest element
  int64_t outside = 0;  ///< elements beyond both atol and rtol, or not finite in one of them only
  bool same_shape = true;
};
Difference compare(const Tensor& a, const Tensor& b, double atol = 1e-5, double rtol = 1e-5);

/// Weights and tensors by name from .npz, .safetensors, .pth (restricted) or one .npy (named "data").
NamedTensors read_tensors(const std::string& path);
void write_tensors(const std::string& path, const NamedTensors& tensors);  ///< .npz or .npy by name
/// Elements uniform in [low, high) of a generator with this seed: the same on every machine.
Tensor random_tensor(DType dtype, const Dims& dims, uint64_t seed, double low = 0, double high = 1);

/// A plan or ONNX model in words or JSON: inputs, ranges, layers, kernels with times and reasons.
struct InspectOptions {
  bool json = false, why = false, layers = true;
};
std::string inspect(const std::string& path, const InspectOptions& options = {});

}  // namespace vitrail
