// SPDX-License-Identifier: Apache-2.0
// run() of conv and conv_transpose, compiled once per ISA.
#pragma once
#include "kernels/conv/bind.h"
#include "kernels/gemm/micro.h"

namespace vitrail {
namespace {

/// Image rows [top, top + rows) and columns [left, left + cols) of one group's channels, channels
/// last, zero outside the image. `pitch`: floats of a row of the copy.
void copy_window(const ConvState& s, const float* image, int64_t top, int64_t left, int64_t rows,
                 int64_t cols, int64_t pitch, float* to) {
  const int64_t c = s.group_c;
  const int64_t before = left < 0 ? (-left < cols ? -left : cols) : 0;
  const int64_t inside = left + cols > s.w ? (s.w - left > before ? s.w - left : before) : cols;
  for (int64_t r = 0; r < rows; ++r, to += pitch) {
    if (top + r < 0 || top + r >= s.h) {
      __builtin_memset(to, 0, static_cast<size_t>(cols * c) * sizeof(float));
      continue;
    }
    __builtin_memset(to, 0, static_cast<size_t>(before * c) * sizeof(float));
    __builtin_memset(to + inside * c, 0, static_cast<size_t>((cols - inside) * c) * sizeof(float));
    const float* from = image + (top + r) * s.x.h + (left + before) * s.x.w;
    float* at = to + before * c;
    const int64_t count = inside - before;
    if (s.x.c == 1 && s.x.w == c) {
      __builtin_memcpy(at, from, static_cast<size_t>(count * c) * sizeof(float));
    } else if (s.x.c == 1) {
      for (int64_t p = 0; p < count; ++p)
        for (int64_t l = 0; l < c; l += Vec::kWidth) {
          const int rest = static_cast<int>(c - l);
          store_upto(at + p * c + l, load_upto(from + p * s.x.w + l, rest), rest);
        }
    } else {
      for (int64_t l = 0; l < c; ++l)
        for (int64_t p = 0; p < count; ++p) at[p * c + l] = from[p * s.x.w + l * s.x.c];
    }
  }
}

void conv_run(const BoundProblem&, const Launch& launch, const KernelArgs& args, int64_t task,
              void* scratch, void*) noexcept {
  ConvState s;
  __builtin_memcpy(&s, launch.state.data(), sizeof s);
  const auto next = [&](int64_t extent) {
    const int64_t index = task % extent;
    task /= extent;
    return index;
  };
  // Phases of one block follow each other: they read the same pixels and share lines of the output.
  const int64_t which = next(s.phases), block_h = next(s.blocks_h), block_w = next(s.blocks_w);
  const int64_t block_o = next(s.blocks_o), group = next(s.groups), image = task;
  ConvPhase phase;
  __builtin_memcpy(&phase, launch.state.data() + kConvStateWords + which * kConvPhaseWords,
                   sizeof phase);

  const int64_t y = block_h * s.block_h, x = block_w * s.block_w, o = block_o * s.block_o;
  const int64_t rows = phase.q_h - y < s.block_h ? phase.q_h - y : s.block_h;
  const int64_t cols = phase.q_w - x < s.block_w ? phase.q_w - x : s.block_w;
  const int64_t wide = s.group_o - o < s.block_o ? s.group_o - o : s.block_o;
  if (rows <= 0 || cols <= 0) return;

  float* tile = static_cast<float*>(scratch);
  const float* source =
      static_cast<const float*>(args.inputs[0]) + image * s.x.n + group * s.group_c * s.x.c;
  const int64_t top = y * s.in_step_h + phase.in_h, left = x * s.in_step_w + phase.in_w;
  const int64_t in_rows = (rows - 1) * s.in_step_h + phase.span_h + 1;
  const int64_t in_cols = (cols - 1) * s.in_step_w + phase.span_w + 1;
  const int64_t* offsets = launch.state.data() + phase.offsets;
  RowsA a{source + top * s.x.h + left * s.x.w,
          s.in_step_w * s.x.w,
          offsets + phase.segments,
          phase.segments,
          phase.length,
          phase.length,
          phase.flush};
  int64_t row_step = s.in_step_h * s.x.h;
  if (!s.in_place || top < 0 || left < 0 || top + in_rows > s.h || left + in_cols > s.w) {
    const int64_t pitch = s.patch_w * s.group_c;
    copy_window(s, source, top, left, in_rows, in_cols, pitch, tile + s.patch_at);
    a.data = tile + s.patch_at;
    a.lda = s.in_step_w * s.group_c;
    a.segments = offsets;
    row_step = s.in_step_h * pitch;
  }

  const float* b = static_cast<const float*>(args.inputs[1]) + phase.b + group * phase.b_group +
                   o / kPanel * phase.panel;
  const int64_t out_y = phase.out_h + y * s.out_step_h, out_x = phase.out_w + x * s.out_step_w;
  const int64_t out_o = group * s.group_o + o;
  const auto place = [&](const ConvStrides& at, int64_t r) {
    return image * at.n + (out_y + r * s.out_step_h) * at.h + out_x * at.w + out_o * at.c;
  };
  for (int64_t r = 0; r < rows; ++r, a.data += row_step) {
    TileOperand operands[EpilogueCode::kMaxOperands];
    for (int i = 0; i < s.epilogue.operands; ++i)
      operands[i] = {
          static_cast<const float*>(args.inputs[s.epilogue_inputs + i]) + place(s.operand[i], r),
          s.operand[i].w * s.out_step_w, s.operand[i].c};
    TileOutput outputs[EpilogueCode::kMaxResults];
    for (int i = 0; i < s.epilogue.results; ++i)
      outputs[i] = {static_cast<float*>(args.outputs[i]) + place(s.output[i], r),
                    s.output[i].w * s.out_step_w, s.output[i].c};
    matrix_block(a, cols, b, phase.panel, wide, s.epilogue, operands, outputs, tile);
  }
}

}  // namespace
}  // namespace vitrail
