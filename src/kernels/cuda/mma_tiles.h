// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/cuda/text.h"

// What the generators of matrix products (gemm, conv) share: tile shapes, their choice, their text.
namespace vitrail::cuda {

/// Of one block. `split` blocks of a cluster share the products' depth (SM 9.0). `wide`: products
/// by wgmma (sm_90a, 16-bit operands).
struct GemmTile {
  int bm, bn, bk, wm, wn, stages, split = 1;
  bool wide = false;
  int threads() const { return 32 * wm * wn; }
  /// Dynamic shared memory: the pipeline, afterwards the finished float32 tile.
  int64_t shared_bytes(int element) const;
  Tactic tactic() const;
  static GemmTile from(const Tactic& tactic, int element);
};

/// Tiles for m x n x k with `element` bytes an element, best guess first by a model of waves and
/// steps; a dozen at most, never empty. m counts all batches.
std::vector<Tactic> gemm_tactics(int64_t m, int64_t n, int64_t k, int element,
                                 const GpuMachine& machine);

struct GemmShape {
  int64_t n, k;   ///< k as A's chunks count it
  int64_t nb;     ///< elements of a row of B that may be read
  int va, vb;     ///< elements of one copy of A, of B
  bool constant;  ///< B is one constant; otherwise one of each batch index
  int passes;     ///< float32 operands: 3 for float32 results, 1 for tf32
  DType dtype;    ///< of A and B
};

/// Adds tail, configuration and entry "gemm"; `text` has structs Rows and Cols already. `rows`:
/// text of the number of rows of a batch index.
void add_gemm(SourceText& text, const Problem& problem, const GemmTile& tile,
              const GemmShape& shape, const std::string& rows);
/// The launch for rows of `batch` indices.
GpuLaunch gemm_launch(const GemmTile& tile, const GemmShape& shape, const Expr& rows,
                      const Expr& batch);

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
