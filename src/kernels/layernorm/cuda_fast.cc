// SPDX-License-Identifier: Apache-2.0
// A row of layer norm in the registers of one warp, or of a part of it where rows are short.
#include <algorithm>

#include "kernels/cuda/text.h"
#include "kernels/layernorm/family.h"

namespace vitrail {
namespace {
using cuda::SourceText;

constexpr int kMostChunks = 8;
struct Split {
  int width, lanes, chunks;  ///< elements of one access, lanes of a row, accesses of a lane
};
Split split_of(const Problem& problem) {
  const int64_t c = problem.inputs[0].dims.back().constant();
  Split s{};
  s.width = std::min(cuda::vector_width(problem, false, 0), cuda::tail_width(problem));
  const int64_t accesses = (c + s.width - 1) / s.width;
  for (s.lanes = 1; s.lanes < 32 && s.lanes < accesses; s.lanes *= 2) {
  }
  s.chunks = static_cast<int>((accesses + s.lanes - 1) / s.lanes);
  return s;
}

Refusal accepts(const Problem& problem, const GpuMachine&) {
  if (problem.inputs.empty() || problem.outputs.empty()) return "needs one input and an output";
  const auto own = static_cast<int>(1 + (problem.integer("has_scale", 0) != 0) +
                                    (problem.integer("has_bias", 0) != 0));
  if (static_cast<int>(problem.inputs.size()) < own || problem.epilogue_inputs < own)
    return "scale or bias is missing among the inputs";
  if (Refusal why = cuda::check_float_operands(problem); !why.empty()) return why;
  const Operand& x = problem.inputs[0];
  if (x.dims.empty() || x.dims != problem.outputs[0].dims)
    return "input and output differ in extents, or are scalars";
  if (!x.dims.back().is_constant() || x.dims.back().is(0))
    return "the row's length is not constant";
  for (int i = 1; i < own; ++i) {
    const Operand& in = problem.inputs[static_cast<size_t>(i)];
    if (in.dims != Shape{x.dims.back()} || !in.strides[0].is(1)) return "scale or bias is not [c]";
  }
  if (!x.strides.back().is(1)) return "the input's last stride is not 1";
  if (const Split s = split_of(problem); s.chunks * s.width > kMostChunks * 8 || s.chunks > 16)
    return fmt::format("rows of {} in accesses of {} elements do not fit the registers of a warp",
                       x.dims.back().str(), s.width);
  return {};
}

// warps: of a block.
std::vector<Tactic> tactics(const BoundProblem&, const GpuMachine&) {
  return {{{"warps", 4}}, {{"warps", 8}}, {{"warps", 2}}};
}

GpuCode generate(const Problem& problem, const Tactic& tactic, const GpuMachine&) {
  const int warps = static_cast<int>(tactic.count("warps") ? tactic.at("warps") : 4),
            threads = 32 * warps;
  const Split s = split_of(problem);
  const Operand& x = problem.inputs[0];
  const int64_t c = x.dims.back().constant();
  const bool scale = problem.integer("has_scale", 0) != 0,
             bias = problem.integer("has_bias", 0) != 0;
  SourceText text(problem);
  text.tail(s.width);
  const Expr rows = cuda::rows_of(x);
  const int rows_per_block = threads / s.lanes;
  text.add(fmt::format("constexpr int C = {}, V = {}, L = {}, N = {};\n", c, s.width, s.lanes,
                       s.chunks));
  text.add(R"(__device__ __forceinline__ float row_sum(float x) {
#pragma unroll
  for (int i = L / 2; i > 0; i /= 2) x += __shfl_xor_sync(0xffffffffu, x, i);
  return x;
}
// Elements past the row's end count as `other`.
template <typename T> __device__ __forceinline__ void load_some(const T* from, int col, float other, float (&to)[V]) {
  if (col + V <= C) {
    vt_load<V>(from + col, to);
    return;
  }
#pragma unroll
  for (int v = 0; v < V; ++v) to[v] = col + v < C ? vt_float(from[col + v]) : other;
}
)");
  std::string body = fmt::format(
      "  vt_trigger();\n  const int row = vt_block(a) * {} + threadIdx.x / L, lane = threadIdx.x % "
      "L;\n",
      rows_per_block);
  // Scale and bias are packed with no padding and 16-byte bases, so that they are read like x,
  // ahead of it.
  const auto constants = [&](const char* name, size_t index) {
    const bool early = problem.inputs[index].constant;
    const bool wide = cuda::vector_width(problem, false, index) >= s.width || early;
    return fmt::format(
        "  float {0}[N][V];\n#pragma unroll\n  for (int i = 0; i < N; ++i) {1}\n", name,
        wide ? fmt::format("load_some(a.in{}, (i * L + lane) * V, 0.0f, {}[i]);", index, name)
             : fmt::format("for (int v = 0; v < V; ++v) {{ const int col = (i * L + lane) * V + v; "
                           "{}[i][v] = col < C ? vt_float(a.in{}[col]) : 0.0f; }}",
                           name, index));
  };
  std::string early, late;
  if (scale) (problem.inputs[1].constant ? early : late) += constants("gain", 1);
  if (bias)
    (problem.inputs[scale ? 2 : 1].constant ? early : late) += constants("shift", scale ? 2 : 1);
  body += early + "  vt_wait();\n" + late;
  body += fmt::format(R"(  // Lanes of a row past the last stay for the sums and read row 0.
  const bool inside = row < {0};
  const int from = inside ? row : 0;
  float x[N][V], sum = 0;
#pragma unroll
  for (int i = 0; i < N; ++i) {{
    load_some(a.in0 + {1}, (i * L + lane) * V, 0.0f, x[i]);
#pragma unroll
    for (int v = 0; v < V; ++v) sum += x[i][v];
  }}
  const float mean = row_sum(sum) * {2};
  float square = 0;
#pragma unroll
  for (int i = 0; i < N; ++i)
#pragma unroll
    for (int v = 0; v < V; ++v) {{
      x[i][v] -= mean;
      square += (i * L + lane) * V + v < C ? x[i][v] * x[i][v] : 0.0f;
    }}
  const float inverse = 1.0f / sqrtf(row_sum(square) * {2} + {3});
  if (!inside) return;
#pragma unroll
  for (int i = 0; i < N; ++i) {{
    const int col = (i * L + lane) * V;
    if (col >= C) break;
#pragma unroll
    for (int v = 0; v < V; ++v) x[i][v] = x[i][v] * inverse{4}{5};
    vt_finish<Tail>(a, row, col, C, x[i]);
  }}
)",
                      text.number(rows), text.row_offset(x, "from"),
                      cuda::literal(1.0 / static_cast<double>(c)),
                      cuda::literal(problem.number("eps", 1e-5)), scale ? " * gain[i][v]" : "",
                      bias ? " + shift[i][v]" : "");
  text.entry("layernorm", threads, body);
  return text.finish(
      {{.entry = "layernorm", .grid = {ceildiv(rows, rows_per_block), 1, 1}, .threads = threads}});
}

}  // namespace

extern const GpuKernel layernorm_cuda_warp;
const GpuKernel layernorm_cuda_warp{.name = "layernorm_cuda_warp",
                                    .family = "layernorm",
                                    .accepts = accepts,
                                    .tactics = tactics,
                                    .generate = generate};

}  // namespace vitrail
