// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/cuda/text.h"

// What the generators of matrix products (gemm, conv) share: tile shapes, their choice, their text.
namespace vitrail::cuda {

/// Of one block. `split` blocks of a cluster share the products' depth (SM 9.0). `wide`: products
/// by wgmma (sm_90a, 16-bit operands). `turns`: at most `blocks` blocks, each with a group of warps
/// that copies and two that multiply, for one tile or two at a time (gemm_turns.cuh). `early`:
/// blocks of a cluster ask for the tail's operands before they meet (gemm_early.cuh).
struct GemmTile {
  int bm, bn, bk, wm, wn, stages, split = 1;
  bool wide = false;
  int turns = 0, blocks = 0;
  bool early = false;
  int threads() const { return 32 * wm * wn * (turns > 0 ? 3 : 1); }
  /// Dynamic shared memory: the pipeline, afterwards the finished float32 tile, or its barriers.
  int64_t shared_bytes(int element) const;
  Tactic tactic() const;
  static GemmTile from(const Tactic& tactic, int element);
};

/// Tiles for m x n x k with `element` bytes an element, best guess first by a model of waves and
/// steps; a dozen at most, never empty. m counts all batches. `constant`: B is one for all of them.
std::vector<Tactic> gemm_tactics(int64_t m, int64_t n, int64_t k, int element, bool constant,
                                 const GpuMachine& machine);

struct GemmShape {
  int64_t n, k;   ///< k as A's chunks count it
  int64_t nb;     ///< elements of a row of B that may be read
  int va, vb;     ///< elements of one copy of A, of B
  bool constant;  ///< B is one constant; otherwise one of each batch index
  int passes;     ///< float32 operands: 3 for float32 results, 1 for tf32
  DType dtype;    ///< of A and B
};

/// The tile as it can be used: blocks that last want constant columns and whole tiles along n and
/// k, an early end a tail of whole groups; otherwise it is a tile of the same extents without.
GemmTile fitted(GemmTile tile, const GemmShape& shape, const Problem& problem);

/// Adds tail, configuration and entry "gemm"; `text` has structs Rows and Cols already. `rows`:
/// text of the number of rows of a batch index.
void add_gemm(SourceText& text, const Problem& problem, const GemmTile& tile,
              const GemmShape& shape, const std::string& rows);
/// The launch for rows of `batch` indices.
GpuLaunch gemm_launch(const GemmTile& tile, const GemmShape& shape, const Expr& rows,
                      const Expr& batch);

/// The same for rows of A that are normalized (gemm_norm.cuh); inputs[2] is the shift.
void add_normalized_gemm(SourceText& text, const Problem& problem, const GemmTile& tile,
                         const GemmShape& shape, const std::string& rows);

/// What a kernel adds to each block of a product: its shared memory in all, cycles of the
/// multiprocessor, cycles of waiting.
struct GemmPrologue {
  int64_t shared_bytes = 0;
  double busy = 0, idle = 0;
};
/// Predicted cycles of a launch, on an H200; the least of all tiles without a prologue.
double gemm_cycles(const GemmTile& tile, int64_t m, int64_t n, int64_t k, int element,
                   const GpuMachine& machine, const GemmPrologue& prologue);
double least_gemm_cycles(int64_t m, int64_t n, int64_t k, int element, const GpuMachine& machine);

/// Columns to which rows of a packed B are filled up: 16 bytes of 16-bit elements.
constexpr int64_t kGemmPad = 8;
/// `dense` (elements `row` and `col` apart) as k rows of n elements, filled up with zeros to a
/// multiple of `pad`.
Tensor pack_rows(const float* dense, int64_t k, int64_t n, int64_t row, int64_t col,
                 int64_t pad = kGemmPad);

/// Depthwise weights [channels, 1, kh, kw] as Window (window.cuh) reads them: of each eight
/// channels, filled up with zeros to a multiple of `pad`, four lanes' pairs of every tap, taps
/// filled up to fours. window_elements: how many for `channels` (a multiple of 8).
Tensor pack_window(const Tensor& dense, int64_t pad);
int64_t window_elements(int64_t channels, int64_t taps);

}  // namespace vitrail::cuda
