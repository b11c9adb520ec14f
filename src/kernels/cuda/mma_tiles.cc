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
// In turns: one group multiplies a tile, or two a half each; 64 or 128 accumulators a thread,
// or 96.
constexpr GemmTile kTilesTurns[] = {
    {128, 128, 64, 4, 1, 6, 1, true, 2}, {64, 256, 64, 4, 1, 5, 1, true, 2},
    {64, 192, 64, 4, 1, 6, 1, true, 2},  {128, 64, 64, 4, 1, 8, 1, true, 2},
    {64, 128, 64, 4, 1, 8, 1, true, 2},  {128, 192, 64, 4, 1, 5, 1, true, 1},
    {128, 256, 64, 4, 1, 4, 1, true, 1}, {128, 128, 64, 4, 1, 6, 1, true, 1}};
constexpr GemmTile kTiles32[] = {
    {128, 64, 32, 4, 2, 3}, {64, 64, 32, 2, 2, 3}, {64, 32, 32, 4, 1, 4}, {32, 64, 32, 2, 2, 4},
    {32, 32, 32, 2, 2, 4},  {16, 32, 32, 1, 2, 4}, {128, 32, 32, 4, 1, 3}};

bool whole_groups(int64_t n) { return n % 8 == 0; }

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

// Of a block's 384 * 168 registers, what groups of warps with many accumulators need. A joint
// launch, which may have other threads, must not hold such code (joint.cc).
std::string registers_text(const GemmTile& tile) {
  constexpr int kMany = 64;  // accumulators of a thread that fit beside all else
  const bool many = tile.bm * tile.bn / (tile.turns == 1 ? 256 : 128) > kMany;
  const auto text = [&](const char* who, const char* what) {
    return fmt::format("__device__ __forceinline__ void vt_{}_registers() {{{}}}\n", who,
                       many ? fmt::format(" asm volatile(\"setmaxnreg.{};\"); ", what) : "");
  };
  return text("copier", "dec.sync.aligned.u32 56") + text("multiplier", "inc.sync.aligned.u32 224");
}
}  // namespace

int64_t GemmTile::shared_bytes(int element) const {
  const int64_t row_b = element == 4 ? bn + 8 : bn;
  constexpr int64_t kBarriers = 16;  // bytes of a stage
  if (turns > 0) return stages * ((int64_t{bm} + bn) * bk * element + kBarriers);
  const int64_t tile = int64_t{bm} * (bn + 4) * 4;
  return std::max<int64_t>(stages * (int64_t{bm} * bk + bk * row_b) * element, tile) +
         (early ? tile + kBarriers : 0);
}

Tactic GemmTile::tactic() const {
  Tactic out = {{"bm", bm}, {"bn", bn},         {"bk", bk},       {"wm", wm},
                {"wn", wn}, {"stages", stages}, {"split", split}, {"wide", wide ? 1 : 0}};
  if (turns > 0) out["turns"] = turns, out["blocks"] = blocks;
  if (early) out["early"] = 1;
  return out;
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
  int wide = 0, early = 0;
  take("wide", wide), take("early", early);
  tile.wide = wide != 0, tile.early = early != 0;
  take("turns", tile.turns), take("blocks", tile.blocks);
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
              const GpuMachine& machine, const GemmPrologue& prologue = {}) {
  const Costs& cost = element == 4 ? kCosts32 : t.wide ? kCostsWide : kCosts16;
  const auto own = static_cast<double>(ceil_div(ceil_div(std::max<int64_t>(k, 1), t.bk), t.split));
  const int64_t per_sm =
      ceil_div(ceil_div(std::max<int64_t>(m, 1), t.bm) * ceil_div(n, t.bn) * t.split,
               machine.multiprocessors);
  const int64_t used = prologue.shared_bytes > 0 ? prologue.shared_bytes : t.shared_bytes(element);
  const int64_t resident =
      std::clamp<int64_t>(std::min<int64_t>(machine.shared_bytes / (used + 1024),
                                            static_cast<int64_t>(cost.threads) / t.threads()),
                          1, 8);
  // An early end spares two fences of the whole device and the wait for operands: reckoned, not
  // timed.
  const double meet = cost.cluster * (t.early ? 0.4 : 1),
               split_element = cost.split_element * (t.early ? 0.7 : 1);
  const double shared = static_cast<double>(t.bm * t.wn + t.bn * t.wm) * t.bk * element;
  const double copied = static_cast<double>(t.bm + t.bn) * t.bk * element;
  const double busy = own * (std::max(static_cast<double>(t.bm * t.bn) * t.bk / cost.macs,
                                      shared / cost.shared_bytes) +
                             copied / cost.copied_bytes) +
                      cost.element * t.bm * t.bn / t.split * (t.split > 1 ? split_element : 1) +
                      cost.block;
  const double idle = cost.start + cost.step * own * (element == 4 ? 1.0 : 2.0 / (t.stages - 1)) +
                      (t.split > 1 ? meet + cost.rank * t.split : 0);
  const auto waves = static_cast<double>(ceil_div(per_sm, resident));
  const double work = busy + prologue.busy;
  return std::max(static_cast<double>(per_sm) * work,
                  waves * (work + idle + prologue.idle) +
                      static_cast<double>(std::min(resident, per_sm) - 1) * work * cost.overlap);
}

// The same in turns, by reckoning, not by timings: a step takes what its products or its copies
// take, whichever is longer, an end the time of one group alone, the whole no less than its bytes.
double cycles_in_turns(const GemmTile& t, int64_t m, int64_t n, int64_t k) {
  constexpr double kMacs = 1900, kCopied = 50, kElement = 0.3, kStart = 2000, kMemory = 17;
  const auto steps = static_cast<double>(ceil_div(std::max<int64_t>(k, 1), t.bk));
  const int64_t tiles =
      ceil_div(ceil_div(std::max<int64_t>(m, 1), t.bm) * ceil_div(n, t.bn), t.blocks);
  const double loop = steps * std::max(static_cast<double>(t.bm * t.bn) * t.bk / kMacs,
                                       static_cast<double>((t.bm + t.bn) * t.bk * 2) / kCopied);
  const double end = kElement * t.bm * t.bn / (t.turns == 1 ? 2 : 1);
  const double moved = static_cast<double>(m * k + m * n) * 2 / t.blocks / kMemory;
  const double busy = t.turns == 1
                          ? static_cast<double>(tiles) * (loop + end)
                          : std::max(static_cast<double>(tiles) * loop + end,
                                     static_cast<double>(ceil_div(tiles, 2)) * (loop + end));
  return kStart + std::max(busy, moved);
}
}  // namespace

std::vector<Tactic> gemm_tactics(int64_t m, int64_t n, int64_t k, int element, bool constant,
                                 const GpuMachine& machine) {
  struct Candidate {
    double cycles;
    GemmTile tile;
  };
  const auto faster = [](const Candidate& a, const Candidate& b) { return a.cycles < b.cycles; };
  std::vector<Candidate> found, fresh;
  for (GemmTile tile : tiles_for(element, machine)) {
    if (tile.shared_bytes(element) > machine.shared_bytes) continue;
    const int64_t steps = ceil_div(std::max<int64_t>(k, 1), tile.bk);
    for (int split : {1, 2, 4, 8}) {
      if (split > 1 && (!machine.hopper() || split * 2 > steps || tile.bm % split != 0)) break;
      tile.split = split;
      found.push_back({cycles(tile, m, n, k, element, machine), tile});
      if (split == 1 || !whole_groups(n)) continue;
      GemmTile early = tile;
      early.early = true;
      while (early.stages > 3 && early.shared_bytes(element) > machine.shared_bytes) --early.stages;
      if (early.shared_bytes(element) > machine.shared_bytes) continue;
      fresh.push_back({cycles(early, m, n, k, element, machine), early});
    }
  }
  if (element == 2 && constant && machine.hopper())
    for (GemmTile tile : kTilesTurns) {
      // With few tiles nothing overlaps.
      if (tile.shared_bytes(element) > machine.shared_bytes || n % tile.bn != 0 ||
          k % tile.bk != 0 ||
          ceil_div(m, tile.bm) * ceil_div(n, tile.bn) <= machine.multiprocessors / 2)
        continue;
      tile.blocks = machine.multiprocessors;
      fresh.push_back({cycles_in_turns(tile, m, n, k), tile});
    }
  std::stable_sort(found.begin(), found.end(), faster);
  std::stable_sort(fresh.begin(), fresh.end(), faster);
  // Turns were faster on an H200 where a block has several tiles as wide as the result, so that A
  // goes by once (by 7 to 25 %; slower by up to 20 % otherwise); an early end leads the same tile's
  // other one. A tuner tries the best of the rest.
  constexpr size_t kMost = 16, kMostFresh = 5;
  constexpr int64_t kSeveral = 3;
  const auto leads = [&](const Candidate& c) {
    GemmTile plain = c.tile;
    plain.early = false;
    return c.tile.early
               ? plain.tactic() == found[0].tile.tactic()
               : c.tile.bn == n && ceil_div(m, c.tile.bm) >= kSeveral * machine.multiprocessors;
  };
  const auto first = std::find_if(fresh.begin(), fresh.end(), leads);
  const bool lead = first != fresh.end();
  if (lead) std::rotate(fresh.begin(), first, first + 1);
  if (fresh.size() > kMostFresh) fresh.resize(kMostFresh);
  if (found.size() > kMost - fresh.size()) found.resize(kMost - fresh.size());
  found.insert(found.begin() + (lead ? 0 : 1), fresh.begin(), fresh.end());
  std::vector<Tactic> out;
  for (const Candidate& c : found) out.push_back(c.tile.tactic());
  return out;
}

GemmTile fitted(GemmTile tile, const GemmShape& shape, const Problem& problem) {
  if (tile.turns > 0 &&
      !(tile.wide && tile.blocks > 0 && shape.constant && size_of(shape.dtype) == 2 &&
        shape.n % tile.bn == 0 && shape.k % tile.bk == 0))
    tile.wm = tile.bm / 16, tile.turns = tile.blocks = 0;
  if (const int width = tail_width(problem); tile.split == 1 || width < 4 || shape.n % width != 0)
    tile.early = false;
  return tile;
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
      "    N = {}, NB = {}, K = {}, PASSES = {};\n  static constexpr int TURNS = {}, BLOCKS = "
      "{};\n  static constexpr bool CONSTANT = {}, WIDE = "
      "{}, EARLY = {};\n}};\n",
      c_type(s.dtype), c_type(problem.inputs[0].dtype), tile.bm, tile.bn, tile.bk, tile.wm, tile.wn,
      tile.stages, tile.split, s.va, s.vb, s.n, s.nb, s.k, s.passes, tile.turns, tile.blocks,
      s.constant ? "true" : "false", tile.wide ? "true" : "false", tile.early ? "true" : "false"));
  if (tile.early) text.add(std::string(device_header("gemm_early.cuh")));
  if (tile.turns > 0) {
    text.add(registers_text(tile));
    text.add(std::string(device_header("gemm_turns.cuh")));
    text.entry("gemm", tile.threads(), fmt::format("  GemmTurns<Cfg>::run(a, {});\n", rows), 1);
    return;
  }
  // Two blocks of a multiprocessor hide each other's ends, where their accumulators leave room.
  const bool two = tile.wide && tile.bm * tile.bn / tile.threads() <= 64;
  text.entry("gemm", tile.threads(), fmt::format("  Gemm<Cfg>::run(a, {});\n", rows), two ? 2 : 1);
}

GpuLaunch gemm_launch(const GemmTile& tile, const GemmShape& s, const Expr& rows,
                      const Expr& batch) {
  const Expr tiles = ceildiv(rows, tile.bm) * batch * (ceil_div(s.n, tile.bn) * tile.split);
  return {.entry = "gemm",
          .grid = {tile.turns > 0 ? min(tiles, tile.blocks) : tiles, 1, 1},
          .threads = tile.threads(),
          .shared_bytes = tile.shared_bytes(static_cast<int>(size_of(s.dtype))),
          .cluster = tile.split};
}

double gemm_cycles(const GemmTile& tile, int64_t m, int64_t n, int64_t k, int element,
                   const GpuMachine& machine, const GemmPrologue& prologue) {
  return cycles(tile, m, n, k, element, machine, prologue);
}

double least_gemm_cycles(int64_t m, int64_t n, int64_t k, int element, const GpuMachine& machine) {
  double least = INFINITY;
  for (GemmTile tile : tiles_for(element, machine)) {
    if (tile.shared_bytes(element) > machine.shared_bytes) continue;
    const int64_t steps = ceil_div(std::max<int64_t>(k, 1), tile.bk);
    for (tile.split = 1; tile.split <= (machine.hopper() ? 8 : 1); tile.split *= 2)
      if (tile.split == 1 || (tile.split * 2 <= steps && tile.bm % tile.split == 0))
        least = std::min(least, cycles(tile, m, n, k, element, machine));
  }
  return least;
}

void add_normalized_gemm(SourceText& text, const Problem& problem, const GemmTile& tile,
                         const GemmShape& s, const std::string& rows) {
  // What finishes straight from the registers of mma (Gemm::kDirect).
  text.tail(std::min(tail_width(problem), tile.bn / tile.wn % 32 == 0 && s.n % 8 == 0 ? 8 : 4));
  if (tile.wide) text.add(wide_text(s.dtype, tile.bn / tile.wn));
  for (const char* header : {"gemm_mma.cuh", "gemm_norm.cuh"})
    text.add(std::string(device_header(header)));
  text.add(
      fmt::format("typedef Rows GemmRows;\ntypedef Cols GemmCols;\nstruct Cfg {{\n  typedef {0} "
                  "T;\n  typedef {0} "
                  "TA;\n  typedef GemmRows Rows;\n  typedef GemmCols Cols;\n"
                  "  static constexpr int BM = {1}, BN = {2}, BK = {3}, WM = {4}, WN = {5}, STAGES "
                  "= {6}, SPLIT = "
                  "1, VA = {7}, VB = {8}, N = {9}, NB = {10}, K = {11}, PASSES = {12};\n"
                  "  static constexpr bool CONSTANT = true, WIDE = {13};\n}};\n",
                  c_type(s.dtype), tile.bm, tile.bn, tile.bk, tile.wm, tile.wn, tile.stages, s.va,
                  s.vb, s.n, s.nb, s.k, s.passes, tile.wide ? "true" : "false"));
  // Two blocks of a multiprocessor hide each other's ends, where their accumulators leave room,
  // also for a row that is normalized.
  const bool two = tile.wide && tile.bm * tile.bn / tile.threads() <= 64 && tile.bn <= 128;
  text.entry(
      "gemm", tile.threads(),
      fmt::format("  NormGemm<Cfg>::run(a, {}, {});\n", rows, literal(problem.number("eps", 1e-5))),
      two ? 2 : 1);
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
