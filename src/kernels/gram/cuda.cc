// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/gram/cuda.h"
#include "kernels/gram/family.h"

namespace vitrail {
namespace {
using namespace cuda;

constexpr int64_t kMostChannels = 256;

Refusal accepts(const Problem& p, const GpuMachine&) {
  const Operand& x = p.inputs.at(0);
  if (!x.dims.back().is_constant() || x.dims.back().constant() > kMostChannels)
    return "more than 256 channels";
  if (p.outputs.at(0).dtype != DType::f32) return "the matrix is not float32, which its sums need";
  if (x.dtype != DType::f32 && x.dtype != DType::f16 && x.dtype != DType::bf16)
    return "an operand that is no float";
  return {};
}

/// What gram_float.cuh is launched with.
struct Half {
  int64_t parts, cp, tiles, groups, depth, stages, threads, shared_bytes;

  Half(int64_t channels, const Tactic& tactic, const GpuMachine& machine) {
    constexpr int64_t kMostThreads = 512, kMostGroups = 24;
    cp = (channels + 7) / 8 * 8;
    const int64_t n = cp / 8, pitch = 16 * (2 * n + (n < 8 ? n : 1));
    tiles = n * (n + 1) / 2;
    parts = tactic.count("parts") ? tactic.at("parts") : machine.multiprocessors;
    groups = std::min({kMostThreads / tiles, kMostGroups, machine.shared_bytes / (256 * tiles)});
    threads = (groups * tiles + 31) / 32 * 32;
    depth = n <= 8 ? 4 : 8;
    const int64_t most = undivided_shared(machine), stage = groups * depth * pitch;
    stages = std::clamp<int64_t>(most / stage, 2, 8);
    shared_bytes = std::max({most, stages * stage, groups * tiles * 256});
  }
};

constexpr int64_t kMostHalf = 128;  // channels

/// Rows of float32 that are read as such.
bool can_halve(const Problem& p) {
  const Operand& x = p.inputs[0];
  return x.dtype == DType::f32 && x.dims.back().constant() <= kMostHalf &&
         (x.strides.back().is(1) || x.dims.back().is(1));
}

// half: each product once (gram_float.cuh). parts: at most so many for one image, if they are not
// too long.
std::vector<Tactic> tactics(const BoundProblem& problem, const GpuMachine& machine) {
  if (!can_halve(*problem.problem)) return {{}};
  const int64_t images = std::max<int64_t>(1, problem.inputs[0].dims[0]);
  return {{{"half", 1}, {"parts", std::max<int64_t>(1, machine.multiprocessors / images)}}, {}};
}

GpuCode generate_half(const Problem& p, const Tactic& tactic, const GpuMachine& machine) {
  const Operand& x = p.inputs[0];
  const Half half(x.dims.back().constant(), tactic, machine);
  constexpr int64_t kGrain = 8;
  const GramParts parts(x, half.parts, kGrain, kGramTile * half.groups);
  SourceText text(p);
  text.include("mma.cuh");
  add_gram_config(text, p,
                  fmt::format("CP = {}, G = {}, K = {}, STAGES = {}, PARTS = {}", half.cp,
                              half.groups, half.depth, half.stages, half.parts));
  text.add(std::string(device_header("gram_float.cuh")));
  return finish_gram(text, p, parts, "GramFloat<Cfg>", 64 * half.tiles, half.threads,
                     half.shared_bytes);
}

// Blocks sum chunks of tokens in float32 into the workspace; a second launch adds the chunks in
// order, in float64.
GpuCode generate(const Problem& p, const Tactic& tactic, const GpuMachine& machine) {
  if (tactic.count("half") && tactic.at("half") && can_halve(p))
    return generate_half(p, tactic, machine);
  const Operand &x = p.inputs[0], &out = p.outputs[0];
  const int64_t c = x.dims.back().constant(), side = (c + 15) / 16, padded = 16 * side,
                chunk = c > 64 ? kGramTile / 2 : kGramTile;
  Expr tokens = 1;
  for (size_t i = 1; i + 1 < x.dims.size(); ++i) tokens *= x.dims[i];
  const Expr chunks = ceildiv(tokens, chunk);
  SourceText text(p);
  const auto n = [&](const Expr& e) { return text.number(e); };
  constexpr int kRows = 16;  // tokens in shared memory at a time
  text.entry(
      "partial", 256,
      fmt::format("  __shared__ float x[{0}][{1}];\n  vt_trigger();\n"
                  "  const int ti = threadIdx.x / 16, tj = threadIdx.x % 16, batch = blockIdx.y, "
                  "first = blockIdx.x * {2};\n"
                  "  float sum[{3}][{3}] = {{}};\n  vt_wait();\n"
                  "  for (int t0 = 0; t0 < {2}; t0 += {0}) {{\n    __syncthreads();\n"
                  "    for (int i = threadIdx.x; i < {0} * {1}; i += 256) {{\n      const int r = "
                  "i / {1}, col = i % {1}, token = first + t0 + r;\n"
                  "      x[r][col] = token < {4} && col < {5} ? vt_float(a.in0[batch * {6} + {7} + "
                  "col * {8}]) : 0.0f;\n    }}\n    __syncthreads();\n"
                  "#pragma unroll 4\n    for (int r = 0; r < {0}; ++r) {{\n      float u[{3}], "
                  "v[{3}];\n#pragma unroll\n"
                  "      for (int i = 0; i < {3}; ++i) u[i] = x[r][ti + 16 * i], v[i] = x[r][tj + "
                  "16 * i];\n#pragma unroll\n"
                  "      for (int i = 0; i < {3}; ++i)\n#pragma unroll\n        for (int j = 0; j "
                  "< {3}; ++j) sum[i][j] = fmaf(u[i], v[j], sum[i][j]);\n    }}\n  }}\n"
                  "  float* to = (float*)a.workspace + (batch * {9} + (int)blockIdx.x) * "
                  "{10};\n#pragma unroll\n"
                  "  for (int i = 0; i < {3}; ++i)\n#pragma unroll\n    for (int j = 0; j < {3}; "
                  "++j) to[(ti + 16 * i) * {1} + tj + 16 * j] = sum[i][j];\n",
                  kRows, padded, chunk, side, n(tokens), c, n(x.strides[0]),
                  text.offset(x, 1, x.dims.size() - 1, "token"), n(x.strides.back()), n(chunks),
                  padded * padded));
  text.entry(
      "total", 1024,
      fmt::format(
          "  __shared__ double sums[32][33];\n  vt_trigger();\n  const int tx = threadIdx.x % 32, "
          "ty = threadIdx.x / 32, element = blockIdx.x * 32 + tx, batch = blockIdx.y;\n"
          "  vt_wait();\n  double sum = 0;\n  const float* from = (const float*)a.workspace + "
          "batch * {0} * {1} + element;\n"
          "#pragma unroll 4\n  for (int i = ty; i < {0}; i += 32) sum += from[i * {1}];\n  "
          "sums[ty][tx] = sum;\n  __syncthreads();\n"
          "  if (ty == 0) {{\n    for (int i = 1; i < 32; ++i) sum += sums[i][tx];\n    const int "
          "i = element / {2}, j = element % {2};\n"
          "    if (i < {3} && j < {3}) a.out0[batch * {4} + i * {5} + j * {6}] = (float)sum;\n  "
          "}}\n",
          n(chunks), padded * padded, padded, c, n(out.strides[0]), n(out.strides[1]),
          n(out.strides[2])));
  const Expr batch = x.dims[0];
  return text.finish(
      {{.entry = "partial", .grid = {chunks, batch, 1}, .threads = 256},
       {.entry = "total", .grid = {padded * padded / 32, batch, 1}, .threads = 1024}},
      batch * chunks * Expr(4 * padded * padded));
}

}  // namespace

extern const GpuKernel gram_cuda;
const GpuKernel gram_cuda{.name = "gram_cuda",
                          .family = "gram",
                          .accepts = accepts,
                          .tactics = tactics,
                          .generate = generate};

}  // namespace vitrail
