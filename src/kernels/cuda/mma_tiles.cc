// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/mma_tiles.h"

#include <algorithm>

namespace vitrail::cuda {
namespace {
constexpr GemmTile kTiles16[] = {{128, 128, 32, 2, 4, 4}, {128, 128, 64, 2, 4, 3}, {128, 64, 64, 4, 2, 3}, {64, 128, 64, 2, 4, 3},
                                 {64, 64, 64, 2, 2, 4},   {64, 32, 64, 4, 1, 4},   {32, 64, 64, 2, 2, 4},  {32, 32, 64, 2, 2, 4},
                                 {128, 32, 32, 4, 1, 3},  {16, 64, 128, 1, 4, 3},  {16, 32, 128, 1, 2, 4}, {256, 64, 32, 8, 1, 3},
                                 {256, 32, 32, 8, 1, 3},  {256, 128, 32, 4, 2, 3}};
constexpr GemmTile kTiles32[] = {{128, 64, 32, 4, 2, 3}, {64, 64, 32, 2, 2, 3}, {64, 32, 32, 4, 1, 4}, {32, 64, 32, 2, 2, 4},
                                 {32, 32, 32, 2, 2, 4},  {16, 32, 32, 1, 2, 4}, {128, 32, 32, 4, 1, 3}};

std::vector<GemmTile> tiles_for(int element) {
  if (element == 2) return {std::begin(kTiles16), std::end(kTiles16)};
  return {std::begin(kTiles32), std::end(kTiles32)};
}
int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
}  // namespace

int64_t GemmTile::shared_bytes(int element) const {
  const int64_t row_b = element == 4 ? bn + 8 : bn;
  return std::max<int64_t>(stages * (int64_t{bm} * bk + bk * row_b) * element, int64_t{bm} * (bn + 4) * 4);
}

Tactic GemmTile::tactic() const {
  return {{"bm", bm}, {"bn", bn}, {"bk", bk}, {"wm", wm}, {"wn", wn}, {"stages", stages}, {"split", split}};
}

GemmTile GemmTile::from(const Tactic& tactic, int element) {
  GemmTile tile = element == 2 ? GemmTile{64, 64, 64, 2, 2, 4} : GemmTile{64, 64, 32, 2, 2, 3};
  const auto take = [&](const char* key, int& value) {
    if (const auto found = tactic.find(key); found != tactic.end()) value = static_cast<int>(found->second);
  };
  take("bm", tile.bm), take("bn", tile.bn), take("bk", tile.bk), take("wm", tile.wm), take("wn", tile.wn);
  take("stages", tile.stages), take("split", tile.split);
  return tile;
}

std::vector<Tactic> gemm_tactics(int64_t m, int64_t n, int64_t k, int element, const GpuMachine& machine) {
  struct Candidate {
    double cycles;
    GemmTile tile;
  };
  std::vector<Candidate> found;
  for (GemmTile tile : tiles_for(element)) {
    if (tile.shared_bytes(element) > machine.shared_bytes) continue;
    const int64_t steps = ceil_div(std::max<int64_t>(k, 1), tile.bk);
    for (int split : {1, 2, 4, 8}) {
      if (split > 1 && (!machine.hopper() || split * 2 > steps || tile.bm % split != 0)) break;
      tile.split = split;
      const int64_t blocks = ceil_div(std::max<int64_t>(m, 1), tile.bm) * ceil_div(n, tile.bn) * split;
      const auto resident = std::max<int64_t>(1, std::min<int64_t>({machine.shared_bytes / (tile.shared_bytes(element) + 1024), 1536 / tile.threads(), 8}));
      const auto per_sm = ceil_div(blocks, machine.multiprocessors);
      // Cycles of a block: products at some 1300 (float32: 150) a cycle, 0.16 for each element that goes
      // through the epilogue; and its waits for memory and barriers, which only other blocks on the same
      // multiprocessor hide.
      const auto own = static_cast<double>(ceil_div(steps, split));
      const double busy = own * tile.bm * tile.bn * tile.bk / (element == 2 ? 1300.0 : 150.0) + 0.16 * tile.bm * tile.bn / split;
      const double idle = 900 + 200 * own + (split > 1 ? 600 : 0);
      found.push_back({std::max(static_cast<double>(per_sm) * busy, static_cast<double>(ceil_div(per_sm, resident)) * (busy + idle)), tile});
    }
  }
  std::stable_sort(found.begin(), found.end(), [](const Candidate& a, const Candidate& b) { return a.cycles < b.cycles; });
  if (found.size() > 12) found.resize(12);
  std::vector<Tactic> out;
  for (const Candidate& c : found) out.push_back(c.tile.tactic());
  return out;
}

void add_gemm(SourceText& text, const Problem& problem, const GemmTile& tile, const GemmShape& s, const std::string& rows) {
  text.tail(tail_width(problem));
  text.add(std::string(device_header("gemm_mma.cuh")));
  text.add(fmt::format("struct Cfg {{\n  typedef {} T;\n  typedef ::Rows Rows;\n  typedef ::Cols Cols;\n"
                       "  static constexpr int BM = {}, BN = {}, BK = {}, WM = {}, WN = {}, STAGES = {}, SPLIT = {}, VA = {}, VB = {},\n"
                       "    N = {}, NB = {}, K = {}, PASSES = {};\n  static constexpr bool CONSTANT = {};\n}};\n",
                       c_type(s.dtype), tile.bm, tile.bn, tile.bk, tile.wm, tile.wn, tile.stages, tile.split, s.va, s.vb, s.n, s.nb,
                       s.k, s.passes, s.constant ? "true" : "false"));
  text.entry("gemm", tile.threads(), fmt::format("  Gemm<Cfg>::run(a, {});\n", rows), 1);
}

GpuLaunch gemm_launch(const GemmTile& tile, const GemmShape& s, const Expr& rows, const Expr& batch) {
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

}  // namespace vitrail::cuda
