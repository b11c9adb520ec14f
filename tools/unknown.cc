// SPDX-License-Identifier: Apache-2.0
#include "tools/unknown.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <numeric>

#include "vitrail/error.h"

namespace vitrail::cli {
namespace {

struct Neighbour {
  const char* instead;
  std::vector<std::string_view>
      options;  ///< of trtexec and Polygraphy; "*" at the end: any that begin so
};

// What the neighbours have and this program has not, with what serves the purpose here.
const std::vector<Neighbour>& neighbours() {
  static const std::vector<Neighbour> all = {
      {"plans compute in float32, those for GPUs also in TF32, float16 and bfloat16 (build "
       "--fp16); other types come with the model's own Q/DQ and Cast nodes",
       {"--fp16", "--bf16", "--fp8", "--int8", "--int4", "--best", "--tf32", "--fp-to-fp16",
        "--precisionConstraints", "--precision-constraints", "--layerPrecisions",
        "--layerOutputTypes", "--layerDeviceTypes", "--layer-precisions", "--tensor-*", "--calib*",
        "--quantization"}},
      {"inputs and outputs are dense, as the model declares them; build --io fp16 halves floats",
       {"--inputIOFormats", "--outputIOFormats", "--trt-config-*"}},
      {"memory follows from the shapes, and a build's account tells how much",
       {"--memPoolSize", "--workspace", "--pool-limit", "--allocationStrategy",
        "--persistentCacheRatio", "--useManagedMemory", "--allowWeightStreaming",
        "--weightStreamingBudget"}},
      {"--budget SECONDS limits tuning",
       {"--builderOptimizationLevel", "--builder-optimization-level", "--maxTactics",
        "--max-tactics", "--avgTiming", "--tilingOptimizationLevel", "--l2LimitForTiling",
        "--tuneBuildRoutes", "--tuningSearch", "--setBuildRoute", "--tacticSources",
        "--tactic-sources"}},
      {"without --timing-cache nothing is cached",
       {"--noBuilderCache", "--noCompilationCache", "--errorOnTimingCacheMiss",
        "--error-on-timing-cache-miss"}},
      {"a plan for the CPU runs on every x86-64",
       {"--versionCompatible", "--version-compatible", "--hardwareCompatibilityLevel",
        "--hardware-compatibility-level", "--runtimePlatform", "--useRuntime",
        "--excludeLeanRuntime"}},
      {"a new build of the same model takes its timings from --timing-cache",
       {"--refit*", "--stripWeights", "--strip-plan", "--stripAllWeights", "--dumpRefit",
        "--timeRefit"}},
      {"`vitrail compare PLAN MODEL --layers` checks every step of the unchanged plan",
       {"--markDebug", "--mark-debug", "--markUnfusedTensorsAsDebugTensors", "--saveDebugTensors",
        "--saveAllDebugTensors", "--trt-outputs", "--onnx-outputs", "--validate"}},
      {"`vitrail compare A B --atol --rtol` is the check of accuracy",
       {"--loadRefOutputs", "--accuracyAlgorithm", "--accuracyThreshold", "--refPair",
        "--check-error-stat", "--error-quantile", "--trt", "--pluginref", "--tf"}},
      {"`vitrail inspect PLAN [--json]` shows layers, kernels and times",
       {"--dumpLayerInfo", "--exportLayerInfo", "--profilingVerbosity", "--profiling-verbosity",
        "--dumpOptimizationProfile", "--show", "--getPlanVersionOnly"}},
      {"`vitrail trace PLAN` and `vitrail bench PLAN` time every step",
       {"--dumpProfile", "--exportProfile", "--separateProfileRun"}},
      {"`vitrail run PLAN --inputs x.npz --outputs y.npz` runs tensors",
       {"--loadInputs", "--dumpOutput", "--exportOutput", "--dumpRawBindingsToFile",
        "--save-inputs", "--save-outputs", "--load-outputs", "--data-loader-script",
        "--val-range"}},
      {"`vitrail bench PLAN` measures",
       {"--iterations", "--warmUp", "--duration", "--infStreams", "--streams", "--avgRuns",
        "--percentile", "--exportTimes", "--idleTime", "--sleepTime", "--useSpinWait",
        "--noSpinWait", "--useCudaGraph", "--noCudaGraph", "--exposeDMA", "--noDataTransfers",
        "--includeDataTransfers"}},
      {"repeat --shapes for several ranges", {"--profile", "--useProfile", "--calibProfile"}},
      {"plugins are not read by this version",
       {"--plugins", "--dynamicPlugins", "--staticPlugins", "--setPluginsToSerialize"}},
      {"this program has one processor to build for",
       {"--useDLACore", "--allowGPUFallback", "--safe", "--device", "--maxAuxStreams", "--sparsity",
        "--preview"}},
      {"`vitrail run` and `vitrail bench` take the plan as an argument",
       {"--loadEngine", "--load-engine"}},
  };
  return all;
}

const char* instead_of(const std::string& option) {
  for (const Neighbour& n : neighbours())
    for (std::string_view name : n.options)
      if (name.ends_with('*') ? option.starts_with(name.substr(0, name.size() - 1))
                              : option == name)
        return n.instead;
  return nullptr;
}

// Levenshtein's distance.
size_t distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t changed = diagonal + (a[i] != b[j]);
      diagonal = std::exchange(row[j + 1], std::min({changed, row[j] + 1, row[j + 1] + 1}));
    }
  }
  return row.back();
}

// The candidate nearest to what was typed; empty when none resembles it.
std::string nearest(const std::string& typed, const std::vector<std::string>& candidates) {
  std::string best;
  size_t least = std::max<size_t>(2, typed.size() / 3) + 1;
  for (const std::string& candidate : candidates)
    if (const size_t d = distance(typed, candidate); d < least) least = d, best = candidate;
  return best;
}

std::vector<std::string> names_of(const CLI::App& command) {
  std::vector<std::string> out;
  for (const CLI::Option* option : command.get_options())
    for (const std::string& name : option->get_lnames()) out.push_back("--" + name);
  for (const CLI::App* sub : command.get_subcommands([](const CLI::App*) { return true; }))
    out.push_back(sub->get_name());
  return out;
}

}  // namespace

std::string explain_unknown(const CLI::App& command, const std::vector<std::string>& unknown) {
  std::string out;
  for (const std::string& argument : unknown) {
    const bool option = argument.starts_with('-');
    // A word behind an unknown option is most likely its value.
    if (!option && !out.empty()) continue;
    const std::string name = argument.substr(0, argument.find('='));
    const char* instead = option ? instead_of(name) : nullptr;
    const std::string like = instead ? "" : nearest(name, names_of(command));
    out += fmt::format("{}{} '{}'{}", out.empty() ? "" : "; ",
                       option ? "no option" : "unexpected argument", printable(name),
                       instead        ? fmt::format(" ({})", instead)
                       : like.empty() ? ""
                                      : fmt::format(" (nearest: {})", like));
  }
  const std::string called = command.get_parent() ? "vitrail " + command.get_name() : "vitrail";
  return fmt::format("{}; see {} --help", out, called);
}

}  // namespace vitrail::cli
