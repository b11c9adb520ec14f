// SPDX-License-Identifier: Apache-2.0
// Attention on tensor cores for 16-bit operands, head sizes up to 128.
#include <algorithm>
#include <cmath>

#include "kernels/attention/family.h"
#include "kernels/cuda/text.h"

namespace vitrail {
namespace {
using cuda::SourceText;

constexpr int64_t kMostHead = 128;
int64_t ceil_to(int64_t n, int64_t grain) { return (n + grain - 1) / grain * grain; }

Refusal accepts(const Problem& problem, const GpuMachine&) {
  if (problem.inputs.size() < 3 || problem.outputs.empty()) return "needs q, k, v and an output";
  if (problem.integer("has_mask", 0) != 0) return "a mask";
  if (problem.epilogue_inputs < 3) return "the epilogue's operands start before q, k, v end";
  if (Refusal why = cuda::check_float_operands(problem); !why.empty()) return why;
  const Operand &q = problem.inputs[0], &k = problem.inputs[1], &v = problem.inputs[2];
  const size_t rank = problem.outputs[0].dims.size();
  if (rank < 2) return "rank below 2";
  if (problem.number("scale", 1) == 0) return "a scale of 0";
  if (q.dtype == DType::f32 || k.dtype != q.dtype || v.dtype != q.dtype)
    return "operands are not of one 16-bit type";
  for (size_t i = 0; i < 3; ++i) {
    const Operand& in = problem.inputs[i];
    if (in.dims.size() != rank) return "ranks differ";
    if (in.constant) return "a constant operand";
    for (size_t d = 0; d + 2 < rank; ++d)
      if (in.dims[d] != problem.outputs[0].dims[d]) return "batch axes differ";
    if (!in.dims.back().is_constant() || in.dims.back().constant() > kMostHead ||
        in.dims.back().constant() < 1)
      return fmt::format("a head size of {}, at most {} are taken", in.dims.back().str(),
                         kMostHead);
    if (cuda::vector_width(problem, false, i) < 2)
      return "rows are not known to be aligned to 4 bytes";
  }
  if (k.dims.back() != q.dims.back() || k.dims[rank - 2] != v.dims[rank - 2] ||
      problem.outputs[0].dims.back() != v.dims.back() ||
      problem.outputs[0].dims[rank - 2] != q.dims[rank - 2])
    return "extents do not match";
  return {};
}

struct Tile {
  int wq, wk, bc;
  int threads() const { return 32 * wq * wk; }
};
constexpr Tile kTiles[] = {{4, 1, 64}, {2, 2, 64}, {1, 4, 64}, {1, 4, 16}, {1, 2, 32}, {4, 2, 64},
                           {8, 1, 64}, {2, 2, 32}, {1, 4, 32}, {4, 1, 32}, {2, 1, 64}};

int64_t shared_bytes(const Tile& t, int64_t d, int64_t dv) {
  const int64_t queries = 16 * t.wq, keys = t.bc * t.wk, dp = ceil_to(d, 16), dvp = ceil_to(dv, 16);
  return std::max(queries * (dp + 8) * 2 + 2 * keys * (dp + dvp + 16) * 2,
                  t.wk * queries * (dvp + 4 + 2) * 4);
}

std::vector<Tactic> tactics(const BoundProblem& problem, const GpuMachine& machine) {
  const Dims& out = problem.outputs[0].dims;
  const size_t rank = out.size();
  const int64_t m = out[rank - 2], t = problem.inputs[1].dims[rank - 2],
                d = problem.inputs[0].dims.back(), dv = out.back();
  const int64_t batch = element_count(Dims(out.begin(), out.end() - 2));
  std::vector<std::pair<double, Tile>> found;
  for (const Tile& tile : kTiles) {
    const int64_t shared = shared_bytes(tile, d, dv);
    if (shared > machine.shared_bytes) continue;
    // A warp's step of 16 queries by bc keys costs some cycles for its products and exponentials,
    // and a latency that other warps of the multiprocessor hide.
    const int64_t blocks = (m + 16 * tile.wq - 1) / (16 * tile.wq) * std::max<int64_t>(batch, 1);
    const int64_t steps = (t + tile.bc * tile.wk - 1) / (tile.bc * tile.wk);
    const int64_t per_sm = (blocks + machine.multiprocessors - 1) / machine.multiprocessors;
    const auto resident = std::max<int64_t>(
        1, std::min<int64_t>(machine.shared_bytes / (shared + 1024), 1024 / tile.threads()));
    const double step = static_cast<double>(tile.bc) * static_cast<double>(d + dv) / 128.0;
    const double work = static_cast<double>(per_sm * steps * tile.wq * tile.wk) * step * 4 / 4;
    const int64_t waves = (per_sm + resident - 1) / resident;
    const double latency = static_cast<double>(waves) *
                           (1200 + static_cast<double>(steps) * (600 + 4 * step) + 150 * tile.wk);
    found.emplace_back(std::max(work, latency) + 0.3 * std::min(work, latency), tile);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Tactic> out_list;
  for (const auto& [cost, tile] : found)
    if (out_list.size() < 8)
      out_list.push_back({{"wq", tile.wq}, {"wk", tile.wk}, {"bc", tile.bc}});
  return out_list;
}

GpuCode generate(const Problem& problem, const Tactic& tactic, const GpuMachine&) {
  Tile tile{4, 1, 64};
  if (tactic.count("wq")) tile.wq = static_cast<int>(tactic.at("wq"));
  if (tactic.count("wk")) tile.wk = static_cast<int>(tactic.at("wk"));
  if (tactic.count("bc")) tile.bc = static_cast<int>(tactic.at("bc"));
  const Operand& q = problem.inputs[0];
  const size_t rank = q.dims.size();
  const int64_t d = q.dims.back().constant(), dv = problem.inputs[2].dims.back().constant();
  const double scale = problem.number("scale", 1);
  SourceText text(problem);
  text.include("mma.cuh");
  text.tail(cuda::tail_width(problem));
  text.add(std::string(cuda::device_header("attention.cuh")));
  const std::string t = cuda::c_type(q.dtype);
  std::string config = fmt::format(
      "struct Cfg {{\n  typedef {} T;\n  static constexpr int D = {}, DV = {}, DP = {}, DVP = {}, "
      "WQ = {}, WK = {}, BC = {}, VQ = {}, VK = {}, VV = {};\n"
      "  static constexpr bool NEGATIVE = {};\n"
      "  static __device__ __forceinline__ float scale() {{ return {}; }}\n",
      t, d, dv, ceil_to(d, 16), ceil_to(dv, 16), tile.wq, tile.wk, tile.bc,
      cuda::vector_width(problem, false, 0), cuda::vector_width(problem, false, 1),
      cuda::vector_width(problem, false, 2), scale < 0 ? "true" : "false",
      cuda::literal(std::fabs(scale) * std::log2(std::exp(1.0))));
  const char* names[] = {"q", "k", "v"};
  const char* strides[] = {"QS", "KS", "VS"};
  for (size_t i = 0; i < 3; ++i) {
    const Operand& in = problem.inputs[i];
    config += fmt::format(
        "  static __device__ __forceinline__ const T* {}(const Args& a, int batch) {{ return "
        "a.in{} + {}; }}\n",
        names[i], i, text.offset(in, 0, rank - 2, "batch"));
    config +=
        fmt::format("  static __device__ __forceinline__ int {}(const Args& a) {{ return {}; }}\n",
                    strides[i], text.number(in.strides[rank - 2]));
  }
  text.add(config + "};\n");
  const Expr m = problem.outputs[0].dims[rank - 2];
  Expr batch = 1;
  for (size_t i = 0; i + 2 < rank; ++i) batch *= problem.outputs[0].dims[i];
  text.entry("attention", tile.threads(),
             fmt::format("  Attention<Cfg>::run(a, {}, {});\n", text.number(m),
                         text.number(problem.inputs[1].dims[rank - 2])),
             1);
  return text.finish({{.entry = "attention",
                       .grid = {ceildiv(m, 16 * tile.wq) * batch, 1, 1},
                       .threads = tile.threads(),
                       .shared_bytes = shared_bytes(tile, d, dv)}});
}

}  // namespace

extern const GpuKernel attention_cuda_mma;
const GpuKernel attention_cuda_mma{.name = "attention_cuda_mma",
                                   .family = "attention",
                                   .accepts = accepts,
                                   .tactics = tactics,
                                   .generate = generate};

}  // namespace vitrail
