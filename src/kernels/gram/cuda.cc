// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/text.h"
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
std::vector<Tactic> tactics(const BoundProblem&, const GpuMachine&) { return {{}}; }

// Blocks sum chunks of tokens in float32 into the workspace; a second launch adds the chunks in
// order, in float64.
GpuCode generate(const Problem& p, const Tactic&, const GpuMachine&) {
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
