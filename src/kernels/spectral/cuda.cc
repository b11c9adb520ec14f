// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/round.h"
#include "kernels/cuda/text.h"
#include "kernels/spectral/family.h"

namespace vitrail {
namespace {
using namespace cuda;

constexpr int64_t kThreads = 512;

struct Sizes {
  int64_t c, o, heads, depth, wide;
  explicit Sizes(const Problem& p)
      : c(p.inputs[1].dims[0].constant()),
        o(p.inputs[5].dims[1].constant()),
        heads(p.integer("heads", 1)),
        depth(p.inputs[1].dims[1].constant() / heads),
        wide(p.inputs[1].dims[1].constant()) {}
  /// Parts of a sum over threads that have no element of a row to themselves.
  static int64_t parts(int64_t n) {
    int64_t across = 32;
    while (across < n && across < kThreads) across *= 2;
    return kThreads / across;
  }
  int64_t scores_bytes(int64_t cols) const {
    return 8 * (c * 2 * cols * (1 + parts(c)) + c * depth);
  }
  int64_t project_bytes(int64_t rows, int64_t split = 1) const {
    return 8 * ((heads * depth * depth + 2 * rows * wide) / split + parts(o) * rows * o);
  }
  int64_t weight_bytes(int64_t split) const { return 4 * wide / split * o; }
};

/// cols: columns of a block of the first launch; rows: of one of the second, and split: how many of
/// a cluster share the heads.
struct Blocks {
  int64_t cols = 2, rows = 4, split = 1;
  explicit Blocks(const Tactic& tactic) {
    if (tactic.count("cols")) cols = tactic.at("cols");
    if (tactic.count("rows")) rows = tactic.at("rows");
    if (tactic.count("split")) split = tactic.at("split");
  }
};
constexpr int64_t kLeast = 1;

Refusal accepts(const Problem& p, const GpuMachine& machine) {
  if (p.inputs.size() != 6) return "six inputs are expected";
  for (size_t i = 1; i < 6; ++i)
    if (!is_static(p.inputs[i].dims)) return "extents of the weights are unknown";
  for (const auto* list : {&p.inputs, &p.outputs})
    for (const Operand& o : *list)
      if (o.dtype != DType::f32 && o.dtype != DType::f16 && o.dtype != DType::bf16)
        return "an operand that is no float";
  const Sizes s(p);
  const int64_t bytes = std::max(s.scores_bytes(kLeast), s.project_bytes(kLeast));
  // What the first launch keeps in static shared memory comes on top.
  constexpr int64_t kStatic = 1024;
  if (bytes + kStatic > machine.shared_bytes)
    return fmt::format("a head needs {} bytes of shared memory", bytes);
  return {};
}

std::vector<Tactic> tactics(const BoundProblem& problem, const GpuMachine& machine) {
  const Sizes s(*problem.problem);
  std::vector<Tactic> out;
  constexpr int64_t kStatic = 1024, kMostCluster = 8;
  if (machine.sm >= 90 && 1 < s.heads && s.heads <= kMostCluster)
    for (const auto& [cols, rows] : {std::pair{2, 4}, std::pair{1, 4}, std::pair{2, 8}})
      if (std::max(s.scores_bytes(cols), s.project_bytes(rows, s.heads)) + kStatic <=
          machine.shared_bytes)
        out.push_back({{"cols", cols}, {"rows", rows}, {"split", s.heads}});
  for (const auto& [cols, rows] : {std::pair{2, 4}, std::pair{4, 4}, std::pair{2, 8},
                                   std::pair{1, 2}, std::pair{4, 8}, std::pair{1, 1}})
    if (std::max(s.scores_bytes(cols), s.project_bytes(rows)) + kStatic <= machine.shared_bytes)
      out.push_back({{"cols", cols}, {"rows", rows}});
  return out;
}

GpuCode generate(const Problem& p, const Tactic& tactic, const GpuMachine& machine) {
  const Sizes s(p);
  const Blocks blocks(tactic);
  const int64_t own = s.project_bytes(blocks.rows, blocks.split),
                staged = own + s.weight_bytes(blocks.split) <= machine.shared_bytes
                             ? s.weight_bytes(blocks.split)
                             : 0;
  SourceText text(p);
  text.include("mma.cuh");
  const auto n = [&](const Expr& e) { return text.number(e); };
  std::string config = fmt::format(
      "struct Cfg {{\n  static constexpr int C = {}, O = {}, H = {}, D = {}, J = {}, RB = {}, "
      "SPLIT = "
      "{};\n"
      "  static constexpr bool STAGED = {};\n  static __device__ __forceinline__ double eps() {{ "
      "return {}; }}\n",
      s.c, s.o, s.heads, s.depth, blocks.cols, blocks.rows, blocks.split, staged != 0,
      literal(p.number("eps", 1e-12)));
  for (const auto& [name, i] :
       {std::pair{"wq", 1}, std::pair{"wk", 2}, std::pair{"wv", 3}, std::pair{"proj", 5}})
    config += fmt::format(
        "  static __device__ __forceinline__ float {0}(const Args& a, int i, int j) {{ return "
        "vt_float(a.in{1}[i * {2} + j * {3}]); }}\n",
        name, i, n(p.inputs[static_cast<size_t>(i)].strides[0]),
        n(p.inputs[static_cast<size_t>(i)].strides[1]));
  const Operand &g = p.inputs[0], &out = p.outputs[0];
  config += fmt::format(
      "  static __device__ __forceinline__ float g(const Args& a, int image, int i, int j) {{ "
      "return vt_float(a.in0[image * {} + i * {} + j * {}]); }}\n"
      "  static __device__ __forceinline__ float rescale(const Args& a, int head) {{ return "
      "vt_float(a.in4[head * {}]); }}\n"
      "  static __device__ __forceinline__ void store(const Args& a, int image, int i, int j, "
      "float "
      "x) {{ a.out0[image * {} + i * {} + j * {}] = vt_to<{}>(x); }}\n}};\n",
      n(g.strides[0]), n(g.strides[1]), n(g.strides[2]), n(p.inputs[4].strides[0]),
      n(out.strides[0]), n(out.strides[1]), n(out.strides[2]), c_type(out.dtype));
  text.add(config);
  text.add(std::string(device_header("spectral.cuh")));
  text.entry("scores", kThreads, "  Spectral<Cfg>::scores(a);\n", 1);
  text.entry("project", kThreads, "  Spectral<Cfg>::project(a);\n", 1);
  const Expr batch = g.dims[0];
  const int64_t per_image = 8 * (s.heads * s.depth * s.depth + s.wide);
  return text.finish({{.entry = "scores",
                       .grid = {s.heads * ceil_div(s.depth, blocks.cols), batch, 1},
                       .threads = kThreads,
                       .shared_bytes = s.scores_bytes(blocks.cols)},
                      {.entry = "project",
                       .grid = {ceil_div(s.c, blocks.rows) * blocks.split, batch, 1},
                       .threads = kThreads,
                       .shared_bytes = own + staged,
                       .cluster = static_cast<int>(blocks.split)}},
                     batch * Expr(per_image));
}

}  // namespace

extern const GpuKernel spectral_cuda;
const GpuKernel spectral_cuda{.name = "spectral_cuda",
                              .family = "spectral",
                              .accepts = accepts,
                              .tactics = tactics,
                              .generate = generate};

}  // namespace vitrail
