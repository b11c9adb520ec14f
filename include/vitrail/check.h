// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

#include "vitrail/graph.h"
#include "vitrail/rounding.h"

namespace vitrail {

/// The graph by the plain definitions of its ops, in float32 or float64. Inputs by name; outputs in
/// the model's order.
NamedTensors run_reference(const Graph& graph, const NamedTensors& inputs,
                           DType precision = DType::f32);

/// The same with inputs, weights and the values a plan would store between its steps rounded to a
/// narrow type (docs/gpu.md, "What a precision costs"): the yardstick for plans in that type.
/// Throws Error(unsupported) for a model with control flow, whose values stay in float32.
NamedTensors run_rounded(const Graph& graph, const NamedTensors& inputs, Rounding rounding,
                         DType precision = DType::f32);

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
/// |a - b| / |b| over all elements.
double relative_l2(const Difference& difference);
Difference compare(const Tensor& a, const Tensor& b, double atol = 1e-5, double rtol = 1e-5);

/// A step of a plan beside the reference.
struct StepDifference {
  int index = 0;  ///< in the plan, depth first
  /// Inside an If or Loop the path: "if/then/add", "loop/body/add".
  std::string step;
  std::string kernel;                ///< "reference" for steps without a kernel of their own
  std::vector<std::string> sources;  ///< the model's nodes it stands for
  std::string value;                 ///< of its outputs the one farthest from the reference
  Difference alone;                  ///< when the step reads the reference's values
  int64_t round = 0;  ///< inside a Loop: how often the step had run before when `alone` was worst
  Difference accumulated;  ///< when it reads what the steps before it made
  /// A small change of its input may change its output by much (TopK, NonMaxSuppression): for
  /// `accumulated`, too, it reads the reference's values, so that what follows can be compared.
  bool restarted = false;
  bool compared = false;  ///< false: the reference has no value of its outputs' names
};
struct StepOptions {
  DType precision = DType::f32;  ///< of the reference: f32 or f64
  double atol = 1e-5, rtol = 1e-5;
  int threads = 0;
};
/// Replays each step of an unchanged plan, those of the branches that run and of the bodies of
/// loops too; of a step's runs in a loop the first and the last are compared. `model` is what the
/// plan was built from. Throws Error(usage) when an input is missing.
std::vector<StepDifference> compare_steps(const std::string& plan_path, const Graph& model,
                                          const NamedTensors& inputs,
                                          const StepOptions& options = {});

/// A plan or ONNX model in words or JSON: inputs, ranges, layers, kernels with times and reasons.
struct InspectOptions {
  bool json = false, why = false, layers = true;
};
std::string inspect(const std::string& path, const InspectOptions& options = {});

}  // namespace vitrail
