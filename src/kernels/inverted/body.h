// SPDX-License-Identifier: Apache-2.0
// inverted's run(), compiled once per ISA.
#pragma once
#include "kernels/gemm/micro.h"
#include "kernels/inverted/bind.h"
#include "kernels/window_rows.h"

namespace vitrail {
namespace {

/// Pixels of c channels, `step` apart, to dense rows with mean 0 and variance 1.
void normalize_pixels(const float* from, int64_t step, int64_t count, int64_t c, double eps,
                      float* to) {
  const float inverse = 1.0f / static_cast<float>(c);
  for (int64_t p = 0; p < count; ++p, from += step, to += c) {
    Vec sum = Vec::zero(), squares = Vec::zero();
    for (int64_t l = 0; l < c; l += Vec::kWidth)
      sum = sum + load_upto(from + l, static_cast<int>(c - l));
    const Vec mean = Vec::all(sum_of(sum) * inverse);
    // Lanes beyond the last channel stay zero.
    const auto centred = [&](int64_t l, int rest) {
      const Vec v = load_upto(from + l, rest);
      return rest >= Vec::kWidth ? v - mean : v - first_lanes(rest) * mean;
    };
    // In two passes, because the mean of squares minus the squared mean cancels.
    for (int64_t l = 0; l < c; l += Vec::kWidth) {
      const Vec v = centred(l, static_cast<int>(c - l));
      squares = fma(v, v, squares);
    }
    const float variance = sum_of(squares) * inverse;
    const Vec scale = Vec::all(1.0f / __builtin_sqrtf(variance + static_cast<float>(eps)));
    for (int64_t l = 0; l < c; l += Vec::kWidth) {
      const int rest = static_cast<int>(c - l);
      store_upto(to + l, centred(l, rest) * scale, rest);
    }
  }
}

/// One row of `hidden`: hidden_w pixels from image column `left` on, zero outside the image.
void hidden_row(const InvertedState& s, const KernelArgs& args, const int64_t* chunks,
                const float* image, int64_t y, int64_t left, float* scratch, float* to) {
  const int64_t before = left < 0 ? (-left < s.hidden_w ? -left : s.hidden_w) : 0;
  const int64_t room = s.w - left < s.hidden_w ? s.w - left : s.hidden_w;
  const int64_t inside = y < 0 || y >= s.h || room < before ? before : room;
  const auto bytes = [&](int64_t pixels) {
    return static_cast<size_t>(pixels * s.padded_e) * sizeof(float);
  };
  __builtin_memset(to, 0, bytes(before));
  __builtin_memset(to + inside * s.padded_e, 0, bytes(s.hidden_w - inside));
  const int64_t count = inside - before;
  if (count <= 0) return;
  const float* from = image + y * s.x.h + (left + before) * s.x.w;
  RowsA a{from, s.x.w, chunks, s.expand.count, s.expand.length, s.expand.last, 1};
  if (s.normalize) {
    normalize_pixels(from, s.x.w, count, s.c, s.eps, scratch + s.norm_at);
    a.data = scratch + s.norm_at;
    a.lda = s.c;
  }
  const TileOperand bias{static_cast<const float*>(args.inputs[2]), 0, 1};
  const TileOutput out{to + before * s.padded_e, s.padded_e, 1};
  matrix_block(a, count, static_cast<const float*>(args.inputs[1]), s.c * kPanel, s.e, s.first,
               &bias, &out, scratch);
}

void inverted_run(const BoundProblem&, const Launch& launch, const KernelArgs& args, int64_t task,
                  void* scratch_memory, void*) noexcept {
  InvertedState s;
  __builtin_memcpy(&s, launch.state.data(), sizeof s);
  const int64_t* chunks = launch.state.data() + kInvertedStateWords;
  const int64_t block_y = task % s.blocks_h, block_x = task / s.blocks_h % s.blocks_w;
  const int64_t image = task / (s.blocks_h * s.blocks_w);
  const int64_t x = block_x * s.block_w;
  const int64_t cols = s.out_w - x < s.block_w ? s.out_w - x : s.block_w;
  const int64_t top = block_y * s.block_h;
  const int64_t bottom = top + s.block_h < s.out_h ? top + s.block_h : s.out_h;
  const int64_t left = x * s.stride_w - s.pad_left;

  float* scratch = static_cast<float*>(scratch_memory);
  float *ring = scratch + s.ring_at, *middle = scratch + s.middle_at;
  const int64_t pitch = s.hidden_w * s.padded_e;
  // Lanes beyond e are carried along and must not be whatever lay there.
  if (s.padded_e != s.e)
    __builtin_memset(ring, 0, static_cast<size_t>(s.kh * pitch) * sizeof(float));
  const float* from = static_cast<const float*>(args.inputs[0]) + image * s.x.n;
  const float* weight = static_cast<const float*>(args.inputs[3]);
  const float* bias = static_cast<const float*>(args.inputs[4]);
  const RowWindow window{s.kh, s.kw, s.stride_w, s.e, s.padded_e};
  int64_t next = top * s.stride_h - s.pad_top;  // first row of hidden that is not in the ring
  for (int64_t y = top; y < bottom; ++y) {
    const int64_t first = y * s.stride_h - s.pad_top;
    if (next < first) next = first;  // strides above kh skip rows
    const auto slot = [&](int64_t row) { return ring + (row + s.pad_top) % s.kh * pitch; };
    for (; next < first + s.kh; ++next)
      hidden_row(s, args, chunks, from, next, left, scratch, slot(next));
    const float* rows[InvertedState::kMostRows];
    for (int64_t r = 0; r < s.kh; ++r) rows[r] = slot(first + r);
    if (next >= 0 && next < s.h) {  // while the window is applied, which needs no memory
      const int64_t begin = left < 0 ? 0 : left,
                    end = left + s.hidden_w < s.w ? left + s.hidden_w : s.w;
      touch_row(from + next * s.x.h + begin * s.x.w, (end - begin) * s.x.w);
    }
    window_row(window, rows, weight, bias, cols, middle, s.activation2, s.imm2);
    const auto place = [&](const InvertedState::Strides& at) {
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
    const RowsA a{
        middle,         s.padded_e, chunks + s.expand.count, s.project.count, s.project.length,
        s.project.last, 1};
    matrix_block(a, cols, static_cast<const float*>(args.inputs[5]), s.e * kPanel, s.o, s.epilogue,
                 operands, outputs, scratch);
  }
}

}  // namespace
}  // namespace vitrail
