// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/mma_tiles.h"

#include <algorithm>
#include <cmath>

#include "base/round.h"

namespace vitrail::cuda {
namespace {
constexpr GemmTile kTiles16[] = {
    {128, 128, 32, 2, 4, 4}, {128, 128, 64, 2, 4, 3}, {128, 64, 64, 4, 2, 3},
    {64, 128, 64, 2, 4, 3},  {64, 64, 64, 2, 2, 4},   {64, 32, 64, 4, 1, 4},
    {32, 64, 64, 2, 2, 4},   {32, 32, 64, 2, 2, 4},   {128, 32, 32, 4, 1, 3},
    {16, 64, 128, 1, 4, 3},  {16, 32, 128, 1, 2, 4},  {256, 64, 32, 8, 1, 3},
    {256, 32, 32, 8, 1, 3},  {256, 128, 32, 4, 2, 3}};
constexpr GemmTile kTilesWide[] = {
    {128, 128, 64, 8, 1, 3, 1, true}, {128, 128, 64, 8, 1, 6, 1, true},
    {128, 256, 64, 8, 1, 4, 1, true}, {128, 192, 64, 8, 1, 4, 1, true},
    {128, 64, 64, 8, 1, 4, 1, true},  {128, 64, 64, 8, 1, 6, 1, true},
    {64, 128, 64, 4, 1, 3, 1, true},  {64, 128, 64, 4, 1, 6, 1, true},
    {64, 64, 64, 4, 1, 4, 1, true},   {64, 64, 64, 4, 1, 6, 1, true},
    {64, 256, 64, 4, 2, 3, 1, true},  {64, 192, 64, 4, 1, 3, 1, true}};
constexpr GemmTile kTiles32[] = {
    {128, 64, 32, 4, 2, 3}, {64, 64, 32, 2, 2, 3}, {64, 32, 32, 4, 1, 4}, {32, 64, 32, 2, 2, 4},
    {32, 32, 32, 2, 2, 4},  {16, 32, 32, 1, 2, 4}, {128, 32, 32, 4, 1, 3}};

std::vector<GemmTile> tiles_for(int element, const GpuMachine& machine) {
  if (element == 4) return {std::begin(kTiles32), std::end(kTiles32)};
  std::vector<GemmTile> list(std::begin(kTiles16), std::end(kTiles16));
  if (machine.hopper()) list.insert(list.end(), std::begin(kTilesWide), std::end(kTilesWide));
  return list;
}

// The instruction for `columns` of a warpgroup, whose accumulators are its registers.
std::string wide_text(DType type, int columns) {
  const char* name = type == DType::bf16 ? "bf16" : "f16";
  std::string names, registers;
  const int count = columns / 2;
  for (int i = 0; i < count; ++i) {
    names += fmt::format("{}%{}", i ? ", " : "", i);
    registers += fmt::format("{}\"+f\"(d[{}][{}])", i ? ", " : "", i / 4, i % 4);
  }
  return fmt::format(
      "__device__ __forceinline__ void vt_wide_fence() {{ asm volatile("
      "\"wgmma.fence.sync.aligned;\" ::: \"memory\"); }}\n"
      "__device__ __forceinline__ void vt_wide_commit() {{ asm volatile("
      "\"wgmma.commit_group.sync.aligned;\" ::: \"memory\"); }}\n"
      "__device__ __forceinline__ void vt_wgmma(float (&d)[{0}][4], u64 a, u64 b) {{\n"
      "  asm volatile(\"wgmma.mma_async.sync.aligned.m64n{1}k16.f32.{2}.{2} {{{3}}}, %{4}, %{5}, "
      "1, 1, 1, 0, 1;\"\n"
      "               : {6} : \"l\"(a), \"l\"(b));\n}}\n"
      "__device__ __forceinline__ void vt_wide_wait(float (&d)[{0}][4]) {{\n"
      "  asm volatile(\"wgmma.wait_group.sync.aligned 0;\" : {6} :: \"memory\");\n}}\n",
      columns / 8, columns, name, names, count, count + 1, registers);
}
}  // namespace

int64_t GemmTile::shared_bytes(int element) const {
  const int64_t row_b = element == 4 ? bn + 8 : bn;
  return std::max<int64_t>(stages * (int64_t{bm} * bk + bk * row_b) * element,
                           int64_t{bm} * (bn + 4) * 4);
}

Tactic GemmTile::tactic() const {
  return {{"bm", bm}, {"bn", bn},         {"bk", bk},       {"wm", wm},
          {"wn", wn}, {"stages", stages}, {"split", split}, {"wide", wide ? 1 : 0}};
}

GemmTile GemmTile::from(const Tactic& tactic, int element) {
  GemmTile tile = element == 2 ? GemmTile{64, 64, 64, 2, 2, 4} : GemmTile{64, 64, 32, 2, 2, 3};
  const auto take = [&](const char* key, int& value) {
    if (const auto found = tactic.find(key); found != tactic.end())
      value = static_cast<int>(found->second);
  };
  take("bm", tile.bm), take("bn", tile.bn), take("bk", tile.bk), take("wm", tile.wm),
      take("wn", tile.wn);
  take("stages", tile.stages), take("split", tile.split);
  int wide = 0;
  take("wide", wide);
  tile.wide = wide != 0;
  return tile;
}

namespace {
// Cycles of blocks by tile, fitted to some 1800 timings on an H200 (docs/results/gpu_kernels.md):
// the pick is 1.3 % slower than the best of the candidates in the geometric mean.
struct Costs {
  double macs;                ///< of a multiprocessor in a cycle
  double shared_bytes;        ///< that its warps read in a cycle
  double copied_bytes;        ///< that come in a cycle
  double element;             ///< through the epilogue
  double split_element;       ///< times that for a sum over a cluster
  double block, start, step;  ///< step: a latency, shared by the copies under way
  double cluster, rank;
  double overlap;  ///< of a resident block's work that others do not hide
  double threads;  ///< of a multiprocessor, before registers run out
};
constexpr Costs kCosts16 = {750, 241, 161, 0.12, 2.4, 760, 51, 387, 1777, 196, 0.6, 488};
constexpr Costs kCostsWide = {2690, INFINITY, 329, 0.21, 2.1, 288, 108, 743, 2107, 1085, 0.63, 554};
constexpr Costs kCosts32 = {65, 65, 29, 0.08, 9.6, 220, 1680, 820, 680, 300, 0.79, 1536};

double cycles(const GemmTile& t, int64_t m, int64_t n, int64_t k, int element,
              const GpuMachine& machine) {
  const Costs& cost = element == 4 ? kCosts32 : t.wide ? kCostsWide : kCosts16;
  const auto own = static_cast<double>(ceil_div(ceil_div(std::max<int64_t>(k, 1), t.bk), t.split));
  const int64_t per_sm =
      ceil_div(ceil_div(std::max<int64_t>(m, 1), t.bm) * ceil_div(n, t.bn) * t.split,
               machine.multiprocessors);
  const int64_t resident =
      std::clamp<int64_t>(std::min<int64_t>(machine.shared_bytes / (t.shared_bytes(element) + 1024),
                                            static_cast<int64_t>(cost.threads) / t.threads()),
                          1, 8);
  const double shared = static_cast<double>(t.bm * t.wn + t.bn * t.wm) * t.bk * element;
  const double copied = static_cast<double>(t.bm + t.bn) * t.bk * element;
  const double busy =
      own * (std::max(static_cast<double>(t.bm * t.bn) * t.bk / cost.macs,
                      shared / cost.shared_bytes) +
             copied / cost.copied_bytes) +
      cost.element * t.bm * t.bn / t.split * (t.split > 1 ? cost.split_element : 1) + cost.block;
  const double idle = cost.start + cost.step * own * (element == 4 ? 1.0 : 2.0 / (t.stages - 1)) +
                      (t.split > 1 ? cost.cluster + cost.rank * t.split : 0);
  const auto waves = static_cast<double>(ceil_div(per_sm, resident));
  return std::max(static_cast<double>(per_sm) * busy,
                  waves * (busy + idle) +
                      static_cast<double>(std::min(resident, per_sm) - 1) * busy * cost.overlap);
}
}  // namespace

std::vector<Tactic> gemm_tactics(int64_t m, int64_t n, int64_t k, int element,
                                 const GpuMachine& machine) {
  struct Candidate {
    double cycles;
    GemmTile tile;
  };
  std::vector<Candidate> found;
  for (GemmTile tile : tiles_for(element, machine)) {
    if (tile.shared_bytes(element) > machine.shared_bytes) continue;
    const int64_t steps = ceil_div(std::max<int64_t>(k, 1), tile.bk);
    for (int split : {1, 2, 4, 8}) {
      if (split > 1 && (!machine.hopper() || split * 2 > steps || tile.bm % split != 0)) break;
      tile.split = split;
      found.push_back({cycles(tile, m, n, k, element, machine), tile});
    }
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Candidate& a, const Candidate& b) { return a.cycles < b.cycles; });
  constexpr size_t kMost = 16;
  if (found.size() > kMost) found.resize(kMost);
  std::vector<Tactic> out;
  for (const Candidate& c : found) out.push_back(c.tile.tactic());
  return out;
}

void add_gemm(SourceText& text, const Problem& problem, const GemmTile& tile, const GemmShape& s,
              const std::string& rows) {
  text.tail(tail_width(problem));
  if (tile.wide) text.add(wide_text(s.dtype, tile.bn / tile.wn));
  text.add(std::string(device_header("gemm_mma.cuh")));
  text.add(fmt::format(
      "typedef Rows GemmRows;\ntypedef Cols GemmCols;\nstruct Cfg {{\n  typedef {} T;\n  typedef "
      "{} TA;\n  typedef GemmRows Rows;\n  typedef GemmCols "
      "Cols;\n"
      "  static constexpr int BM = {}, BN = {}, BK = {}, WM = {}, WN = {}, STAGES = {}, SPLIT = "
      "{}, VA = {}, VB = {},\n"
      "    N = {}, NB = {}, K = {}, PASSES = {};\n  static constexpr bool CONSTANT = {}, WIDE = "
      "{};\n}};\n",
      c_type(s.dtype), c_type(problem.inputs[0].dtype), tile.bm, tile.bn, tile.bk, tile.wm, tile.wn,
      tile.stages, tile.split, s.va, s.vb, s.n, s.nb, s.k, s.passes, s.constant ? "true" : "false",
      tile.wide ? "true" : "false"));
  // Two blocks of a multiprocessor hide each other's ends, where their accumulators leave room.
  const bool two = tile.wide && tile.bm * tile.bn / tile.threads() <= 64;
  text.entry("gemm", tile.threads(), fmt::format("  Gemm<Cfg>::run(a, {});\n", rows), two ? 2 : 1);
}

GpuLaunch gemm_launch(const GemmTile& tile, const GemmShape& s, const Expr& rows,
                      const Expr& batch) {
  return {.entry = "gemm",
          .grid = {ceildiv(rows, tile.bm) * batch * (ceil_div(s.n, tile.bn) * tile.split), 1, 1},
          .threads = tile.threads(),
          .shared_bytes = tile.shared_bytes(static_cast<int>(size_of(s.dtype))),
          .cluster = tile.split};
}

Tensor pack_rows(const float* dense, int64_t k, int64_t n, int64_t row, int64_t col, int64_t pad) {
  const int64_t wide = ceil_div(n, pad) * pad;
  Tensor out(DType::f32, {k, wide});
  float* to = out.mutable_data<float>();
  for (int64_t l = 0; l < k; ++l)
    for (int64_t j = 0; j < wide; ++j) *to++ = j < n ? dense[l * row + j * col] : 0.0f;
  return out;
}

int64_t window_elements(int64_t channels, int64_t taps) { return channels * ((taps + 3) / 4 * 4); }

Tensor pack_window(const Tensor& dense, int64_t pad) {
  const Dims& d = dense.dims();
  const int64_t channels = ceil_div(d[0], pad) * pad, taps = d[2] * d[3];
  Tensor out(DType::f32, {window_elements(channels, taps)});
  float* to = out.mutable_data<float>();
  // Neighbours in a row, then what is left at the rows' ends from the top down.
  std::vector<int64_t> order;
  for (int64_t r = 0; r < d[2]; ++r)
    for (int64_t q = 0; q < d[3] / 2 * 2; ++q) order.push_back(r * d[3] + q);
  if (d[3] % 2 != 0)
    for (int64_t r = 0; r < d[2]; ++r) order.push_back(r * d[3] + d[3] - 1);
  order.resize(static_cast<size_t>((taps + 3) / 4 * 4), -1);
  for (int64_t c = 0; c < channels; c += 2)  // eight channels are four pairs
    for (int64_t tap : order)
      for (int64_t i = c; i < c + 2; ++i)
        *to++ = i < d[0] && tap >= 0 ? dense.data<float>()[i * taps + tap] : 0.0f;
  return out;
}

}  // namespace vitrail::cuda
