// SPDX-License-Identifier: Apache-2.0
// The Gram matrix of 16-bit tokens on tensor cores, in two launches: whole (gram.cuh), or each
// product once (gram_half.cuh).
#include <algorithm>

#include "kernels/gram/cuda.h"
#include "kernels/gram/family.h"

namespace vitrail {
namespace {
using cuda::SourceText;

constexpr int64_t kMostChannels = 128;
int64_t ceil_to(int64_t n, int64_t grain) { return (n + grain - 1) / grain * grain; }

Refusal accepts(const Problem& problem, const GpuMachine&) {
  if (problem.inputs.size() != 1 || problem.outputs.size() != 1)
    return "gram has one input and one output";
  if (!problem.epilogue.identity()) return "an epilogue";
  if (Refusal why = cuda::check_float_operands(problem); !why.empty()) return why;
  const Operand& x = problem.inputs[0];
  if (x.dims.size() < 3 || x.constant) return "x is a constant or has less than 3 axes";
  if (x.dtype == DType::f32) return "x is f32";
  if (!x.dims.back().is_constant() || x.dims.back().constant() < 1 ||
      x.dims.back().constant() > kMostChannels)
    return fmt::format("{} channels, at most {} are taken", x.dims.back().str(), kMostChannels);
  if (problem.outputs[0].dims != Shape{x.dims[0], x.dims.back(), x.dims.back()})
    return "the output is not [b, c, c]";
  if (cuda::vector_width(problem, false, 0) < 2)
    return "rows are not known to be aligned to 4 bytes";
  return {};
}

/// As many as multiprocessors for up to 32 channels, fewer where each is larger and the second
/// launch has more to add.
int64_t usual_parts(const Problem& problem, const GpuMachine& machine) {
  constexpr int64_t kSmall = 32;
  return std::max<int64_t>(
      1, machine.multiprocessors * kSmall /
             std::max(kSmall, ceil_to(problem.inputs[0].dims.back().constant(), 16)));
}

/// What gram_half.cuh is launched with.
struct Half {
  int64_t parts, cp, tiles, wk, stages, shared_bytes;
  int64_t threads() const { return 32 * (cp / 16) * wk; }

  Half(int64_t channels, const Tactic& tactic, const GpuMachine& machine) {
    cp = ceil_to(channels, 16);
    const int64_t n = cp / 16;
    tiles = n * (n + 1) / 2;
    parts = tactic.count("parts") ? tactic.at("parts") : machine.multiprocessors;
    const int64_t warps = tactic.count("warps") ? tactic.at("warps") : n <= 4 ? 16 : 8;
    wk = std::max<int64_t>(1, warps / n);
    const int64_t most = cuda::undivided_shared(machine), stage = 32 * wk * (cp + 8) * 2;
    stages = std::clamp<int64_t>(most / stage, 2, 8);
    shared_bytes = std::max({most, stages * stage, wk * tiles * 1024});
  }
};

// half: each product once. parts: at most so many for one image. warps: of a block.
std::vector<Tactic> tactics(const BoundProblem& problem, const GpuMachine& machine) {
  const int64_t parts = usual_parts(*problem.problem, machine),
                images = std::max<int64_t>(1, problem.inputs[0].dims[0]),
                spread = std::max<int64_t>(1, machine.multiprocessors / images);
  std::vector<Tactic> out = {{{"half", 1}, {"parts", spread}}};
  if (problem.inputs[0].dims.back() <= 64)
    out.push_back({{"half", 1}, {"parts", spread}, {"warps", 8}});
  out.insert(
      out.end(),
      {{{"parts", parts}}, {{"parts", 2 * parts}}, {{"parts", std::max<int64_t>(1, parts / 2)}}});
  return out;
}

GpuCode generate_half(const Problem& problem, const Tactic& tactic, const GpuMachine& machine) {
  const Operand& x = problem.inputs[0];
  const Half half(x.dims.back().constant(), tactic, machine);
  SourceText text(problem);
  text.include("mma.cuh");
  constexpr int64_t kGrain = 8;
  const cuda::GramParts parts(x, half.parts, kGrain);
  const bool flush = !parts.size.is_constant() || parts.size.constant() > 128 * half.wk;
  cuda::add_gram_config(text, problem,
                        fmt::format("CP = {}, WK = {}, STAGES = {}, PARTS = {}, LONG = {}", half.cp,
                                    half.wk, half.stages, half.parts, static_cast<int>(flush)));
  text.add(std::string(cuda::device_header("gram_half.cuh")));
  return cuda::finish_gram(text, problem, parts, "GramHalf<Cfg>", 256 * half.tiles, half.threads(),
                           half.shared_bytes);
}

GpuCode generate(const Problem& problem, const Tactic& tactic, const GpuMachine& machine) {
  if (tactic.count("half") && tactic.at("half")) return generate_half(problem, tactic, machine);
  const int64_t most_parts =
      tactic.count("parts") ? tactic.at("parts") : usual_parts(problem, machine);
  const Operand& x = problem.inputs[0];
  const int64_t cp = ceil_to(x.dims.back().constant(), 16), wm = cp / 16,
                wk = std::max<int64_t>(1, 8 / wm), step = 16 * wk * 2;
  SourceText text(problem);
  text.include("mma.cuh");
  const cuda::GramParts parts(x, most_parts, step);
  cuda::add_gram_config(text, problem, fmt::format("CP = {}, WK = {}", cp, wk));
  text.add(std::string(cuda::device_header("gram.cuh")));
  const int threads = static_cast<int>(32 * wm * wk);
  text.entry("gram_parts", threads,
             fmt::format("  Gram<Cfg>::run(a, {}, {}, {});\n", text.number(parts.tokens),
                         text.number(parts.size), text.number(parts.count)),
             1);
  text.entry("gram_add", 256, fmt::format("  Gram<Cfg>::add(a, {});\n", text.number(parts.count)));
  return text.finish(
      {{.entry = "gram_parts",
        .grid = {parts.count * x.dims[0], 1, 1},
        .threads = threads,
        .shared_bytes = std::max(4 * step * (cp + 8) * 2, cp * (cp + 4) * 4)},
       {.entry = "gram_add", .grid = {x.dims[0] * ((cp * cp + 31) / 32), 1, 1}, .threads = 256}},
      parts.count * x.dims[0] * (cp * cp * 4));
}

}  // namespace

extern const GpuKernel gram_cuda_mma;
const GpuKernel gram_cuda_mma{.name = "gram_cuda_mma",
                              .family = "gram",
                              .accepts = accepts,
                              .tactics = tactics,
                              .generate = generate};

}  // namespace vitrail
