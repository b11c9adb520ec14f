// SPDX-License-Identifier: Apache-2.0
// Attention on tensor cores for 16-bit operands, head sizes up to 128: by mma.sync, or by wgmma
// where takes_wide_attention().
#include <algorithm>
#include <cmath>

#include "kernels/attention/cuda_wide.h"
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
  std::vector<std::pair<double, Tactic>> found;
  for (const Tile& tile : kTiles) {
    const int64_t shared = shared_bytes(tile, d, dv);
    if (shared > machine.shared_bytes) continue;
    // A warp's step of 16 queries by bc keys costs some cycles for its products and exponentials,
    // and a latency that other warps of the multiprocessor hide.
    const int64_t blocks = (m + 16 * tile.wq - 1) / (16 * tile.wq) * std::max<int64_t>(batch, 1);
    const int64_t steps = (t + tile.bc * tile.wk - 1) / (tile.bc * tile.wk);
    const int64_t per_sm = (blocks + machine.multiprocessors - 1) / machine.multiprocessors;
    constexpr int64_t kThreads = 512;  // at their 111 to 139 registers
    const auto resident = std::max<int64_t>(
        1, std::min<int64_t>(machine.shared_bytes / (shared + 1024), kThreads / tile.threads()));
    const double step = static_cast<double>(tile.bc) * static_cast<double>(d + dv) / 128.0;
    const double work = static_cast<double>(per_sm * steps * tile.wq * tile.wk) * step;
    const int64_t waves = (per_sm + resident - 1) / resident;
    const double latency = static_cast<double>(waves) *
                           (1200 + static_cast<double>(steps) * (600 + 4 * step) + 150 * tile.wk);
    // In units of some 3.5 cycles of an H200.
    found.emplace_back(3.5 * (std::max(work, latency) + 0.3 * std::min(work, latency)),
                       Tactic{{"wq", tile.wq}, {"wk", tile.wk}, {"bc", tile.bc}});
  }
  const auto sort = [](auto& list, size_t most) {
    std::stable_sort(list.begin(), list.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    if (list.size() > most) list.resize(most);
  };
  sort(found, 8);
  // Of few queries most of a warpgroup's rows would stay empty.
  if (m > 32 && takes_wide_attention(*problem.problem, machine)) {
    auto wide = wide_attention_tactics(batch, m, t, d, dv, machine);
    sort(wide, 9);
    sort(found, 5);
    // Ahead of those by mma.sync by a clear margin only.
    for (auto& [cost, tactic] : wide) found.emplace_back(1.15 * cost, std::move(tactic));
    sort(found, found.size());
  }
  std::vector<Tactic> out_list;
  for (auto& [cost, tactic] : found) out_list.push_back(std::move(tactic));
  return out_list;
}

GpuCode generate(const Problem& problem, const Tactic& tactic, const GpuMachine&) {
  const auto key = [&](const char* name, int otherwise) {
    const auto found = tactic.find(name);
    return found == tactic.end() ? otherwise : static_cast<int>(found->second);
  };
  const Tile tile{key("wq", 4), key("wk", 1), key("bc", 64)};
  const bool wide = key("wide", 0) != 0;
  const WideAttention wide_tile = WideAttention::from(tactic);
  const Operand& q = problem.inputs[0];
  const size_t rank = q.dims.size();
  const int64_t d = q.dims.back().constant(), dv = problem.inputs[2].dims.back().constant();
  const double scale = problem.number("scale", 1);
  SourceText text(problem);
  text.include("mma.cuh");
  text.tail(cuda::tail_width(problem));
  if (wide) text.add(wide_tile.text(q.dtype, dv));
  text.add(std::string(cuda::device_header(wide ? "attention_wide.cuh" : "attention.cuh")));
  const std::string t = cuda::c_type(q.dtype);
  const std::string sizes =
      wide ? fmt::format("WQ = {}, WK = {}, BC = {}, SPLIT = {}, STAGES = {}", wide_tile.wq,
                         wide_tile.wk, wide_tile.bc, wide_tile.split, wide_tile.stages)
           : fmt::format("WQ = {}, WK = {}, BC = {}, VQ = {}, VK = {}, VV = {}", tile.wq, tile.wk,
                         tile.bc, cuda::vector_width(problem, false, 0),
                         cuda::vector_width(problem, false, 1),
                         cuda::vector_width(problem, false, 2));
  std::string config = fmt::format(
      "struct Cfg {{\n  typedef {} T;\n  static constexpr int D = {}, DV = {}, DP = {}, DVP = {}, "
      "{};\n"
      "  static constexpr bool NEGATIVE = {};\n"
      "  static __device__ __forceinline__ float scale() {{ return {}; }}\n",
      t, d, dv, ceil_to(d, 16), ceil_to(dv, 16), sizes, scale < 0 ? "true" : "false",
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
  const std::string run =
      fmt::format("  Attention{}<Cfg>::run(a, {}, {});\n", wide ? "Wide" : "", text.number(m),
                  text.number(problem.inputs[1].dims[rank - 2]));
  GpuLaunch launch{.entry = "attention"};
  if (wide) {
    launch.grid[0] = ceildiv(m, 64 * wide_tile.wq) * batch * wide_tile.split;
    launch.threads = wide_tile.threads();
    launch.shared_bytes = wide_tile.shared_bytes(d, dv);
    launch.cluster = wide_tile.split;
  } else {
    launch.grid[0] = ceildiv(m, 16 * tile.wq) * batch;
    launch.threads = tile.threads();
    launch.shared_bytes = shared_bytes(tile, d, dv);
  }
  text.entry("attention", launch.threads, run, wide ? wide_tile.blocks(dv) : 1);
  return text.finish({launch});
}

}  // namespace

extern const GpuKernel attention_cuda_mma;
const GpuKernel attention_cuda_mma{.name = "attention_cuda_mma",
                                   .family = "attention",
                                   .accepts = accepts,
                                   .tactics = tactics,
                                   .generate = generate};

}  // namespace vitrail
