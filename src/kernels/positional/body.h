// SPDX-License-Identifier: Apache-2.0
// positional's run(), compiled once per ISA.
#pragma once
#include "kernels/gemm/micro.h"
#include "kernels/positional/bind.h"
#include "kernels/window_rows.h"

namespace vitrail {
namespace {

/// Columns [left, left + count) of an image of w columns: how many lie before it, and the first
/// that lies behind it, both counted from `left`.
struct Inside {
  int64_t before, end;
  Inside(int64_t left, int64_t count, int64_t w)
      : before(left < 0 ? (-left < count ? -left : count) : 0),
        end(w - left < count ? w - left : count) {
    if (end < before) end = before;
  }
};

void positional_run(const BoundProblem&, const Launch& launch, const KernelArgs& args, int64_t task,
                    void* scratch_memory, void*) noexcept {
  PositionalState s;
  __builtin_memcpy(&s, launch.state.data(), sizeof s);
  const int64_t* chunks = launch.state.data() + kPositionalStateWords;
  const int64_t block_y = task % s.blocks_h, block_x = task / s.blocks_h % s.blocks_w;
  const int64_t image = task / (s.blocks_h * s.blocks_w);
  const int64_t x = block_x * s.block_w;
  const int64_t cols = s.w - x < s.block_w ? s.w - x : s.block_w;
  const int64_t top = block_y * s.block_h;
  const int64_t bottom = top + s.block_h < s.h ? top + s.block_h : s.h;

  float* scratch = static_cast<float*>(scratch_memory);
  float *values = scratch + s.value_at, *ring = scratch + s.ring_at,
        *middle = scratch + s.middle_at;
  const int64_t e = s.padded_e, value_pitch = (s.block_w + 4) * e, pitch = (s.block_w + 2) * e;
  const auto clear = [e](float* from, int64_t pixels) {
    __builtin_memset(from, 0, static_cast<size_t>(pixels * e) * sizeof(float));
  };
  // Lanes beyond e are carried along and must not be whatever lay there.
  if (e != s.e) clear(values, 3 * (s.block_w + 4));
  // Rows count from -2: slots of both rings.
  const auto value_row = [&](int64_t row) { return values + (row + 3) % 3 * value_pitch; };
  const auto ring_row = [&](int64_t row) { return ring + (row + 3) % 3 * pitch; };

  // M in panels, as the packed weights are.
  const float* m = static_cast<const float*>(args.inputs[6]) + image * s.m_n;
  float* packed = scratch + s.m_at;
  for (int64_t j = 0; j < s.e; j += kPanel)
    for (int64_t l = 0; l < s.c; ++l, packed += kPanel)
      for (int64_t k = 0; k < kPanel; k += Vec::kWidth) {
        const int64_t rest = s.e - j - k;
        const int lanes = static_cast<int>(rest < 0 ? 0 : rest < Vec::kWidth ? rest : Vec::kWidth);
        load_upto(m + l * s.m_c + (rest > 0 ? j + k : 0), lanes).store(packed + k);
      }

  const float* from = static_cast<const float*>(args.inputs[0]) + image * s.x.n;
  const RowWindow window{3, 3, 1, s.e, e};
  const auto* first = static_cast<const float*>(args.inputs[2]);
  const auto* bias1 = static_cast<const float*>(args.inputs[3]);
  const auto* second = static_cast<const float*>(args.inputs[4]);
  const auto* bias2 = static_cast<const float*>(args.inputs[5]);
  const auto pixels = [&](int64_t row, int64_t col) {
    return RowsA{from + row * s.x.h + col * s.x.w, s.x.w, chunks, s.chunks, s.length, s.last, 1};
  };
  // A row of x Wv over columns x - 2 to x + cols + 2, zero outside the image.
  const auto make_values = [&](int64_t row) {
    float* to = value_row(row);
    const int64_t wide = cols + 4;
    const Inside in(x - 2, row < 0 || row >= s.h ? 0 : wide, s.w);
    clear(to, in.before);
    clear(to + in.end * e, wide - in.end);
    if (in.end == in.before) return;
    const TileOutput out{to + in.before * e, e, 1};
    matrix_block(pixels(row, x - 2 + in.before), in.end - in.before,
                 static_cast<const float*>(args.inputs[1]), s.c * kPanel, s.e, s.store, nullptr,
                 &out, scratch);
  };
  // A row of `middle` over columns x - 1 to x + cols + 1, zero outside the image.
  const auto make_middle = [&](int64_t row) {
    float* to = ring_row(row);
    const int64_t wide = cols + 2;
    const Inside in(x - 1, row < 0 || row >= s.h ? 0 : wide, s.w);
    clear(to, in.before);
    clear(to + in.end * e, wide - in.end);
    if (in.end == in.before) return;
    const float* rows[3];
    for (int64_t r = 0; r < 3; ++r) rows[r] = value_row(row - 1 + r) + in.before * e;
    window_row(window, rows, first, bias1, in.end - in.before, to + in.before * e, s.activation,
               s.imm);
  };

  const auto fetch = [&](int64_t row) {
    if (row < s.h) touch_row(from + row * s.x.h + x * s.x.w, cols * s.x.w);
  };
  make_values(top - 2);
  make_values(top - 1);
  for (int64_t row = top - 1; row <= bottom; ++row) {
    make_values(row + 1);
    fetch(row + 2);  // while `middle` is made, which needs no memory
    make_middle(row);
    const int64_t y = row - 1;  // the row whose three rows of `middle` are there
    if (y < top) continue;
    const float* rows[3];
    for (int64_t r = 0; r < 3; ++r) rows[r] = ring_row(y - 1 + r);
    window_row(window, rows, second, bias2, cols, middle, Pointwise::constant, 1.0f);
    const auto place = [&](const PositionalState::Strides& at) {
      return image * at.n + y * at.h + x * at.w;
    };
    TileOperand operands[EpilogueCode::kMaxOperands];
    for (int i = 0; i < s.epilogue.operands; ++i)
      operands[i] = {
          static_cast<const float*>(args.inputs[s.epilogue_inputs + i]) + place(s.operand[i]),
          s.operand[i].w, s.operand[i].c};
    TileOutput outputs[EpilogueCode::kMaxResults];
    for (int i = 0; i < s.epilogue.results; ++i)
      outputs[i] = {static_cast<float*>(args.outputs[i]) + place(s.output[i]), s.output[i].w,
                    s.output[i].c};
    matrix_block(pixels(y, x), cols, scratch + s.m_at, s.c * kPanel, s.e, s.epilogue, operands,
                 outputs, scratch, middle, e);
  }
}

}  // namespace
}  // namespace vitrail
