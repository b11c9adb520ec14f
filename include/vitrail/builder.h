// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "vitrail/graph.h"

namespace vitrail {

/// Shapes of one input that a plan shall run: every extent from min to max, tuned for opt.
struct ShapeRange {
  Dims min, opt, max;
};

enum class VerifyLevel : uint8_t {
  automatic,  ///< fast; nothing, and the account says so, for a GPU that is not here
  off,
  fast,  ///< at opt, batch 1 and 2, against the float32 oracle on the graph as imported
  full,  ///< also min and max, batch N against batch 1, identical images, poisoned memory
};

struct BuildOptions {
  /// By input name. An input with symbolic extents needs an entry.
  std::map<std::string, ShapeRange> shapes;
  /// Several sets of ranges, each as `shapes` (which they replace when there are any): the plan
  /// takes inputs that fit one of the sets and is tuned for the opt of each.
  std::vector<std::map<std::string, ShapeRange>> profiles;
  int threads = 0;  ///< 0: one per core
  bool deterministic =
      false;         ///< fixed summation orders, heuristic tactics: equal inputs, equal bytes
  bool tune = true;  ///< time kernels; false: heuristic choice
  double budget_seconds = 60;  ///< of tuning
  std::string timing_cache;    ///< path; empty: none
  VerifyLevel verify = VerifyLevel::automatic;
  bool keep_source = true;  ///< store the imported graph to retune from
  std::vector<std::string> disabled_passes;
  /// "cpu", "cuda" or "cuda:N".
  std::string device = "cpu";
  /// GPU: "sm_80", "sm_86", "sm_87", "sm_89" or "sm_90"; empty: the device's own.
  std::string architecture;
  /// GPU: type of weights and of values between steps: f32, f16 or bf16. Sums, statistics and
  /// softmax stay in float32, inputs and outputs have the model's types.
  DType storage = DType::f32;
  /// GPU: what the plan takes and gives where the model has float32: f32 or f16. Halves the bytes
  /// between host and GPU.
  DType input_type = DType::f32, output_type = DType::f32;
  /// GPU: float32 products may round their factors to TF32.
  bool tf32 = false;
  /// GPU: calls of cuBLASLt and cuDNN may stand in the plan, where the build finds them and they
  /// are faster; the plan then needs them wherever it runs.
  bool libraries = true;
  /// Folder of compiled GPU code and of references' results that took long; empty: none.
  std::string cache_folder;
  /// Called with a stage's name and how far the build is (0..1), from the thread that builds.
  std::function<void(const std::string& stage, double done)> progress;
};

/// For BuildOptions::progress: on standard error a bar with the time left on a terminal, a line now
/// and then in a log.
std::function<void(const std::string& stage, double done)> show_progress();

/// How far results lie from the reference.
struct CheckRow {
  std::string output;  ///< tensor
  std::string at;      ///< shapes: "input 1x3x224x224"
  double abs_max = 0, abs_mean = 0, abs_median = 0, rel_max = 0, rel_mean = 0, rel_median = 0;
  double cosine = 1, sqnr_db = 0;
  /// Length of the difference over the reference's, and the same of the reference with weights and
  /// stored values rounded (check.h, run_rounded); 0: not asked for.
  double relative_l2 = 0, rounded_l2 = 0;
  bool ok = true;
};

/// What a build tells (the account).
struct BuildReport {
  size_t nodes_before = 0, nodes_after = 0, steps = 0;
  std::map<std::string, int> kernels;  ///< steps by family
  std::vector<std::string> lines;      ///< what was fused, what not and why
  std::vector<CheckRow> verification;
  std::string unverified;  ///< why nothing was verified; empty where something was
  uint64_t weight_bytes = 0,
           arena_bytes = 0;  ///< arena: all working memory of a session at the opt shapes
  double seconds = 0;
};

/// Where builds keep what they can use again (BuildOptions::cache_folder) unless told otherwise:
/// $VITRAIL_CACHE, or "vitrail" in the user's cache folder; empty where there is neither.
std::string default_cache();

/// What a plan was built for, to build it again from Graph::from_plan: its ranges, and whether it
/// is deterministic. The rest is as in new options.
BuildOptions options_of_plan(const std::string& path);

/// Builds a plan file. Throws Error; with Error(accuracy) no plan is written.
BuildReport build(const Graph& graph, const BuildOptions& options, const std::string& plan_path);

}  // namespace vitrail
