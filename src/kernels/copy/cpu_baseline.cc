// SPDX-License-Identifier: Apache-2.0
// Copies move bytes; wider vectors than the baseline's would not make memory faster.
#include "kernels/copy/family.h"
#include "kernels/rows_body.h"
#include "kernels/transpose.h"

namespace vitrail {
namespace {

template <typename T>
void copy_block(const CopyState& s, const T* from, T* to, int64_t rows, int64_t cols) {
  if (s.in_row == 1 && s.out_col == 1 && s.in_col > 1) {
    // The input runs along the rows: its rows are our columns. Outputs that lie far apart are
    // written several lines at a time.
    const int64_t tile = s.out_row > s.in_col ? 64 : 16;
    for (int64_t c = 0; c < cols; c += tile)
      transpose_block(from + c * s.in_col, s.in_col, to + c, s.out_row,
                      cols - c < tile ? cols - c : tile, rows);
    return;
  }
  for (int64_t r = 0; r < rows; ++r) {
    const T* in = from + r * s.in_row;
    T* out = to + r * s.out_row;
    if (s.out_col == 1 && s.in_col == 1) {
      __builtin_memcpy(out, in, static_cast<size_t>(cols) * sizeof(T));
    } else if (s.out_col == 1 && s.in_col == 0) {
      const T value = *in;
      for (int64_t c = 0; c < cols; ++c) out[c] = value;
    } else {
      for (int64_t c = 0; c < cols; ++c) out[c * s.out_col] = in[c * s.in_col];
    }
  }
}

template <typename T>
void copy_task(const CopyState& s, const KernelArgs& args, int64_t task) {
  const auto* from = static_cast<const T*>(args.inputs[0]);
  auto* to = static_cast<T*>(args.outputs[0]);
  int64_t end = (task + 1) * s.units_per_task;
  end = end < s.units ? end : s.units;
  int64_t offsets[RowLoop::kMaxOperands];
  for (int64_t unit = task * s.units_per_task; unit < end; ++unit) {
    const int64_t c = unit % s.col_blocks * s.block_cols, block = unit / s.col_blocks;
    const int64_t r = block % s.row_blocks * s.block_rows;
    locate(s.outer, block / s.row_blocks, offsets);
    const int64_t rows = s.rows - r < s.block_rows ? s.rows - r : s.block_rows;
    const int64_t cols = s.cols - c < s.block_cols ? s.cols - c : s.block_cols;
    copy_block(s, from + offsets[0] + r * s.in_row + c * s.in_col,
               to + offsets[1] + r * s.out_row + c * s.out_col, rows, cols);
  }
}

void copy_run(const BoundProblem&, const Launch& launch, const KernelArgs& args, int64_t task,
              void*, void*) noexcept {
  const auto& state = state_of<CopyState>(launch);
  switch (state.size) {
    case 1:
      return copy_task<uint8_t>(state, args, task);
    case 2:
      return copy_task<uint16_t>(state, args, task);
    case 4:
      return copy_task<uint32_t>(state, args, task);
    default:
      return copy_task<uint64_t>(state, args, task);
  }
}

}  // namespace

extern const CpuKernel copy_any_baseline;
const CpuKernel copy_any_baseline{"copy_any_baseline", "copy",    Isa::baseline, copy_accepts,
                                  copy_tactics,        copy_bind, copy_run};

}  // namespace vitrail
