// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "compile/kernel_set.h"
#include "compile/reference_cache.h"
#include "ir/graph.h"
#include "passes/pipeline.h"
#include "plan/plan.h"
#include "vitrail/builder.h"

namespace vitrail {

/// How far a result may lie from the reference, in absolute terms. Rounding of float32 through a
/// network: errors of single operations add up like a random walk, so the result may lie some
/// hundred units of 2^-24 of its largest element away. A wrong epsilon or activation moves it
/// thousands of units (tests/golden/README.md, "What these numbers can detect"). Values stored in
/// 16 bits, or products of factors rounded to TF32, are rounded at every step to 2^-11 (float16,
/// TF32) or 2^-8 (bfloat16); through the depth of a network these add up to some 64 units of the
/// last place. `floor`: what counts as the largest element at least.
/// That finds what is wrong; what is worse than it need be is found by the length of the error
/// beside that of rounding alone (see References::rounded, error_allowed).
double tolerance(const Tensor& reference, const BuildOptions& options, double floor);

/// What the oracle says of the imported graph, kept over the attempts of one build and, in a
/// folder, over builds (reference_cache.h).
class References {
 public:
  explicit References(const ir::Graph& imported, const std::string& cache_folder = {})
      : imported_(imported), cache_(cache_folder) {}
  /// `key` names the inputs.
  const std::vector<Tensor>& outputs(const std::string& key, const std::vector<Tensor>& inputs);
  /// Those of run_rounded in the type of `options`; none where there is no yardstick: for float32,
  /// and for models with control flow.
  const std::vector<Tensor>& rounded(const std::string& key, const std::vector<Tensor>& inputs,
                                     const BuildOptions& options);

 private:
  const ir::Graph& imported_;
  ReferenceCache cache_;
  std::map<std::string, std::vector<Tensor>> known_, rounded_;
};

/// The relative L2 error that an output of `elements` elements may have whose reference, rounded,
/// has `rounded_l2`: kMostOfRounding times as much, and three deviations of the ratio of two random
/// errors, 3 / sqrt(elements), more. At least a unit of the type, for models too shallow for an
/// average.
double error_allowed(double rounded_l2, int64_t elements, const BuildOptions& options);

/// `inputs` in the types the plan takes them in.
std::vector<Tensor> as_taken(const Plan& plan, const std::vector<Tensor>& inputs);

/// The first trial in which a plan differed.
struct FailedTrial {
  std::string key;
  std::vector<Tensor> inputs;
};

/// Runs the plan against the oracle on `imported`, as `options.verify` asks; appends to report and
/// plan. Nothing is returned when every row passed.
std::optional<FailedTrial> verify_plan(const ir::Graph& imported, Plan& plan,
                                       const BuildOptions& options, const KernelSet& kernels,
                                       References& references, BuildReport& report);

/// What made a plan differ from the reference.
struct Blame {
  enum class Kind : uint8_t { nothing, kernel, pass } kind = Kind::nothing;
  std::string name;  ///< of the kernel or pass
  std::string why;
};

/// Replays each launch of the unchanged plan from reference inputs: the first whose result lies
/// outside the tolerance names its kernel. When the fused graph itself differs from the imported
/// one, the pass without which it does not is named instead.
Blame find_blame(const ir::Graph& imported, const ir::Graph& fused, const Plan& plan,
                 const BuildOptions& options, const KernelSet& kernels,
                 std::span<const passes::Pass> passes, const FailedTrial& trial,
                 References& references);

}  // namespace vitrail
