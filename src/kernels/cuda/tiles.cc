// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/tiles.h"

#include <algorithm>

namespace vitrail::cuda {
namespace {
//                                     BM   BN  BK WM WN SL ST
const std::vector<Tile> kTiles16 = {{128, 128, 32, 2, 4, 1, 4}, {128, 64, 32, 4, 2, 1, 4},
                                    {64, 64, 64, 2, 2, 1, 4},   {32, 64, 64, 1, 2, 2, 4},
                                    {32, 32, 64, 1, 1, 4, 4},   {16, 32, 128, 1, 1, 4, 4},
                                    {128, 32, 32, 4, 1, 1, 4}};
const std::vector<Tile> kTiles32 = {{128, 64, 16, 4, 2, 1, 4}, {64, 64, 32, 2, 2, 1, 3},
                                    {32, 64, 32, 1, 2, 2, 3},  {32, 32, 32, 1, 1, 4, 3},
                                    {16, 32, 64, 1, 1, 4, 3},  {128, 32, 16, 4, 1, 1, 4}};
}  // namespace

int64_t Tile::shared_bytes(DType type) const {
  const auto size = static_cast<int64_t>(size_of(type));
  const int64_t stage = bm * (bk + 16 / size) + bk * (bn + 8);
  return std::max<int64_t>(st * stage * size, sl > 1 ? int64_t{4} * sl * bm * bn : 0);
}

const std::vector<Tile>& tiles_of(DType type) { return size_of(type) == 2 ? kTiles16 : kTiles32; }

std::vector<Tactic> tile_tactics(DType type, int64_t m, int64_t n, int64_t batch,
                                 const GpuMachine& machine) {
  const std::vector<Tile>& tiles = tiles_of(type);
  const auto usable = [&](size_t i) { return tiles[i].shared_bytes(type) <= machine.shared_bytes; };
  const auto blocks = [&](const Tile& t) {
    return batch * ((m + t.bm - 1) / t.bm) * ((n + t.bn - 1) / t.bn);
  };
  const size_t narrow = tiles.size() - 1;  // for n of at most 32
  size_t best = tiles.size() - 3;
  if (m <= 16) {
    best = tiles.size() - 2;
  } else if (n <= 32 && blocks(tiles[narrow]) >= machine.multiprocessors) {
    best = narrow;
  } else {
    for (size_t i = 0; i + 2 < tiles.size(); ++i)
      if (usable(i) && blocks(tiles[i]) >= machine.multiprocessors && tiles[i].bn < 2 * n) {
        best = i;
        break;
      }
  }
  std::vector<Tactic> out = {{{"tile", static_cast<int64_t>(best)}}};
  for (size_t i = 0; i < tiles.size(); ++i)
    if (i != best && usable(i)) out.push_back({{"tile", static_cast<int64_t>(i)}});
  return out;
}

Tile tile_of(const Tactic& tactic, DType type) {
  const std::vector<Tile>& tiles = tiles_of(type);
  const auto found = tactic.find("tile");
  const int64_t index =
      found == tactic.end() ? static_cast<int64_t>(tiles.size()) - 3 : found->second;
  return tiles.at(static_cast<size_t>(index));
}

std::string tile_members(const Problem& problem, const Tile& t, bool a16, bool b16, bool rows_first,
                         bool b_constant) {
  return fmt::format(
      "  typedef {} T;\n"
      "  static constexpr int BM = {}, BN = {}, BK = {}, WM = {}, WN = {}, SL = {}, ST = {};\n"
      "  static constexpr bool A16 = {}, B16 = {}, ROWS_FIRST = {}, B_CONSTANT = {}, TF32 = {};\n",
      c_type(compute_type(problem)), t.bm, t.bn, t.bk, t.wm, t.wn, t.sl, t.st, a16, b16, rows_first,
      b_constant, problem.integer("tf32", 0) != 0);
}

void add_tile_entry(SourceText& text, const Tile& tile, const Expr& cols,
                    const std::string& prologue) {
  const std::string columns = text.number(ceildiv(cols, tile.bn));
  text.entry("tile", tile.threads(),
             prologue + fmt::format("  VtGemm<P, Tail> gemm;\n  gemm.run(a, (int)blockIdx.x / {} * "
                                    "{}, (int)blockIdx.x % {} * {});\n",
                                    columns, tile.bm, columns, tile.bn));
}

GpuLaunch tile_launch(const Tile& tile, DType type, const Expr& rows, const Expr& cols,
                      const Expr& batch) {
  return {.entry = "tile",
          .grid = {ceildiv(rows, tile.bm) * ceildiv(cols, tile.bn), batch, 1},
          .threads = tile.threads(),
          .shared_bytes = tile.shared_bytes(type)};
}

}  // namespace vitrail::cuda
