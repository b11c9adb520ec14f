// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

#include "kernels/cuda/text.h"

// What the families that run as matrix products on tensor cores (gemm, conv, conv_transpose) share:
// shapes of tiles and the text around cuda/gemm.cuh.
namespace vitrail::cuda {

/// BM x BN x BK tile, WM x WN warps, SL slices of the depth, ST stages.
struct Tile {
  int bm, bn, bk, wm, wn, sl, st;
  int threads() const { return 32 * wm * wn * sl; }
  int64_t shared_bytes(DType type) const;
};
/// Tiles for a type, largest first; the tactic's "tile" is an index.
const std::vector<Tile>& tiles_of(DType type);
/// Tactics for a product of m x n x k, `batch` times: the largest tile that still gives every
/// multiprocessor a block, then its neighbours.
std::vector<Tactic> tile_tactics(DType type, int64_t m, int64_t n, int64_t batch,
                                 const GpuMachine& machine);
Tile tile_of(const Tactic& tactic, DType type);

/// The type that products are computed in: B's.
inline DType compute_type(const Problem& problem) { return problem.inputs[1].dtype; }
/// `struct P`'s fixed members: type, tile and how operands are read.
std::string tile_members(const Problem& problem, const Tile& tile, bool a16, bool b16,
                         bool rows_first, bool b_constant);
/// Adds the entry "tile": blocks of x run over column tiles first, `prologue` may use blockIdx.y.
void add_tile_entry(SourceText& text, const Tile& tile, const Expr& cols,
                    const std::string& prologue = {});
GpuLaunch tile_launch(const Tile& tile, DType type, const Expr& rows, const Expr& cols,
                      const Expr& batch);

}  // namespace vitrail::cuda
