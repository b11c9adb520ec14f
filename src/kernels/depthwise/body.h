// SPDX-License-Identifier: Apache-2.0
// The depthwise kernel, compiled once per ISA. Sums of a few output pixels and one vector of
// channels stay in registers while the window passes; rows outside the image are skipped, columns
// are only checked in tiles at the border.
#pragma once
#include "kernels/depthwise/family.h"
#include "kernels/rows_body.h"

namespace vitrail {
namespace {

#if defined(__AVX512F__)
constexpr int kTallTile = 2, kWideTile = 4;  // 8 sums, 9 weights
#else
constexpr int kTallTile = 2, kWideTile = 2;  // 4 sums, 9 weights of 16 registers
#endif

/// Where a tile reads and writes: input pixel (first column, each row; null outside), columns
/// low <= j < high inside the image, weights, start values, and output pixels.
struct Patch {
  const float* rows[5];
  int64_t x_w, low, high;
  const float* weight;
  int64_t tap;
  const float* bias;
  float* to[2];
  int64_t to_w;
  int64_t c;
};

/// Tall x Wide output pixels of a 3 x 3 window with stride S, all channels.
template <int S, int kTall, int kWide, bool kClip>
void window_3x3(const Patch& p) {
  constexpr int kRows = (kTall - 1) * S + 3, kCols = (kWide - 1) * S + 3;
  const auto channels = [&](int64_t ch, auto load, auto store) __attribute__((always_inline)) {
    Vec weight[9], sum[kTall][kWide];
#pragma GCC unroll 9
    for (int i = 0; i < 9; ++i) weight[i] = Vec::load(p.weight + i * p.tap + ch);
    const Vec start = p.bias != nullptr ? load(p.bias + ch) : Vec::zero();
    for (int y = 0; y < kTall; ++y)
      for (int x = 0; x < kWide; ++x) sum[y][x] = start;
#pragma GCC unroll 5
    for (int r = 0; r < kRows; ++r) {
      if (p.rows[r] == nullptr) continue;
      const float* row = p.rows[r] + ch;
#pragma GCC unroll 9
      for (int j = 0; j < kCols; ++j) {
        if (kClip && (j < p.low || j >= p.high)) continue;
        const Vec in = load(row + j * p.x_w);
#pragma GCC unroll 2
        for (int y = 0; y < kTall; ++y) {
          const int ky = r - y * S;
          if (ky < 0 || ky >= 3) continue;
#pragma GCC unroll 4
          for (int x = 0; x < kWide; ++x) {
            const int kx = j - x * S;
            if (kx < 0 || kx >= 3) continue;
            sum[y][x] = fma(in, weight[ky * 3 + kx], sum[y][x]);
          }
        }
      }
    }
    for (int y = 0; y < kTall; ++y)
      for (int x = 0; x < kWide; ++x) store(p.to[y] + x * p.to_w + ch, sum[y][x]);
  };
  constexpr int kW = Vec::kWidth;
  int64_t ch = 0;
  for (; ch + kW <= p.c; ch += kW)
    channels(
        ch, [](const float* at) { return Vec::load(at); }, [](float* at, Vec v) { v.store(at); });
  if (ch < p.c) {
    const int rest = static_cast<int>(p.c - ch);
    channels(
        ch, [=](const float* at) { return Vec::load_first(at, rest); },
        [=](float* at, Vec v) { v.store_first(at, rest); });
  }
}

/// Output pixels first..last-1 of one or two rows, in tiles from the left.
template <int S, int kTall>
inline void rows_3x3(const DepthwiseState& s, Patch p, const float* const* rows, int64_t first,
                     int64_t last) {
  float* const to[2] = {p.to[0], p.to[1]};
  const auto place = [&](int64_t x, int64_t cols) {
    const int64_t column = x * S - s.pad_left;
    for (int r = 0; r < (kTall - 1) * S + 3; ++r)
      p.rows[r] = rows[r] == nullptr ? nullptr : rows[r] + column * s.x_w;
    p.low = -column;
    p.high = s.w - column;
    for (int y = 0; y < kTall; ++y) p.to[y] = to[y] + (x - first) * p.to_w;
    return p.low <= 0 && p.high >= cols;
  };
  int64_t x = first;
  for (; x + kWideTile <= last; x += kWideTile) {
    if (place(x, (kWideTile - 1) * S + 3))
      window_3x3<S, kTall, kWideTile, false>(p);
    else
      window_3x3<S, kTall, kWideTile, true>(p);
  }
  for (; x < last; ++x) {
    if (place(x, 3))
      window_3x3<S, kTall, 1, false>(p);
    else
      window_3x3<S, kTall, 1, true>(p);
  }
}

/// kWide pixels in a row with any window; taps in i0..i1-1 and j0..j1-1 lie inside the image for
/// all.
template <int kWide>
void window_any(const DepthwiseState& s, const float* x, const float* weight, const float* bias,
                float* to, int64_t to_w, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
  for (int64_t ch = 0; ch < s.c; ch += Vec::kWidth) {
    const int64_t left = s.c - ch;
    const int lanes = static_cast<int>(left < Vec::kWidth ? left : Vec::kWidth);
    const auto channels = [&](auto load) __attribute__((always_inline)) {
      Vec sum[kWide];
      const Vec start = bias != nullptr ? load(bias + ch) : Vec::zero();
      for (int p = 0; p < kWide; ++p) sum[p] = start;
      for (int64_t i = i0; i < i1; ++i)
        for (int64_t j = j0; j < j1; ++j) {
          const Vec w = Vec::load(weight + (i * s.kw + j) * s.padded + ch);
          const float* at = x + i * s.dilation_h * s.x_h + j * s.dilation_w * s.x_w + ch;
#pragma GCC unroll 8
          for (int p = 0; p < kWide; ++p)
            sum[p] = fma(load(at + p * s.stride_w * s.x_w), w, sum[p]);
        }
      for (int p = 0; p < kWide; ++p) store_upto(to + p * to_w + ch, sum[p], lanes);
    };
    if (lanes == Vec::kWidth)
      channels([](const float* at) { return Vec::load(at); });
    else
      channels([=](const float* at) { return Vec::load_first(at, lanes); });
  }
}

/// Taps inside 0..extent-1 for a window that starts at `start`: first, and one past the last.
inline void inside(int64_t start, int64_t dilation, int64_t taps, int64_t extent, int64_t* first,
                   int64_t* last) {
  *first = start < 0 ? (-start + dilation - 1) / dilation : 0;
  *last = start >= extent ? 0 : (extent - start + dilation - 1) / dilation;
  if (*last > taps) *last = taps;
  if (*first > *last) *first = *last;
}

inline void row_any(const DepthwiseState& s, const float* image, const float* weight,
                    const float* bias, int64_t y, int64_t first, int64_t last, float* to,
                    int64_t to_w) {
  constexpr int kWide = Vec::kWidth == 16 ? 8 : 4;
  int64_t i0, i1;
  const int64_t top = y * s.stride_h - s.pad_top;
  inside(top, s.dilation_h, s.kh, s.h, &i0, &i1);
  const float* row = image + top * s.x_h;
  for (int64_t x = first; x < last;) {
    const int64_t left = x * s.stride_w - s.pad_left;
    float* at = to + (x - first) * to_w;
    const int64_t right = left + (kWide - 1) * s.stride_w + (s.kw - 1) * s.dilation_w;
    if (left >= 0 && right < s.w && x + kWide <= last) {
      window_any<kWide>(s, row + left * s.x_w, weight, bias, at, to_w, i0, i1, 0, s.kw);
      x += kWide;
    } else {
      int64_t j0, j1;
      inside(left, s.dilation_w, s.kw, s.w, &j0, &j1);
      window_any<1>(s, row + left * s.x_w, weight, bias, at, to_w, i0, i1, j0, j1);
      ++x;
    }
  }
}

/// One or two output rows from y on, pixels first..last-1.
inline void depthwise_rows(const DepthwiseState& s, const float* image, const float* weight,
                           const float* bias, int64_t y, int64_t count, int64_t first, int64_t last,
                           float* const* to, int64_t to_w) {
  if (s.kind == DepthwiseState::kGeneral) {
    for (int64_t i = 0; i < count; ++i)
      row_any(s, image, weight, bias, y + i, first, last, to[i], to_w);
    return;
  }
  const float* rows[5];
  for (int64_t r = 0; r < 5; ++r) {
    const int64_t at = y * s.stride_h - s.pad_top + r;
    rows[r] = at < 0 || at >= s.h ? nullptr : image + at * s.x_h;
  }
  Patch p{};
  p.x_w = s.x_w;
  p.weight = weight;
  p.tap = s.padded;
  p.bias = bias;
  p.to[0] = to[0];
  p.to[1] = to[1];
  p.to_w = to_w;
  p.c = s.c;
  if (s.kind == DepthwiseState::k3x3s1) {
    if (count == 2)
      rows_3x3<1, kTallTile>(s, p, rows, first, last);
    else
      rows_3x3<1, 1>(s, p, rows, first, last);
  } else {
    if (count == 2)
      rows_3x3<2, kTallTile>(s, p, rows, first, last);
    else
      rows_3x3<2, 1>(s, p, rows, first, last);
  }
}

void depthwise_run(const BoundProblem&, const Launch& launch, const KernelArgs& args, int64_t task,
                   void* scratch, void*) noexcept {
  const auto& s = state_of<DepthwiseState>(launch);
  const int64_t n = task / s.tasks_per_image, begin = task % s.tasks_per_image * s.rows_per_task;
  const int64_t end = begin + s.rows_per_task < s.oh ? begin + s.rows_per_task : s.oh;
  const float* image = static_cast<const float*>(args.inputs[0]) + n * s.x_n;
  const auto* weight = static_cast<const float*>(args.inputs[1]);
  const auto operand = [&](int64_t o, int64_t y, int64_t x) {
    return n * s.strides[o][0] + y * s.strides[o][1] + x * s.strides[o][2];
  };
  auto* tile = static_cast<float*>(scratch);
  for (int64_t y = begin; y < end; y += 2) {
    const int64_t count = end - y < 2 ? 1 : 2;
    if (s.direct != 0) {
      auto* out = static_cast<float*>(args.outputs[0]);
      float* to[2] = {out + operand(s.inputs, y, 0), out + operand(s.inputs, y + count - 1, 0)};
      const float* bias =
          s.bias < 0 ? nullptr
                     : static_cast<const float*>(args.inputs[s.bias]) + n * s.strides[s.bias][0];
      depthwise_rows(s, image, weight, bias, y, count, 0, s.ow, to, s.strides[s.inputs][2]);
      continue;
    }
    for (int64_t x = 0; x < s.ow; x += s.chunk) {
      const int64_t last = x + s.chunk < s.ow ? x + s.chunk : s.ow;
      float* to[2] = {tile, tile + s.chunk * s.ld};
      depthwise_rows(s, image, weight, nullptr, y, count, x, last, to, s.ld);
      for (int64_t i = 0; i < count; ++i) {
        TileOperand operands[EpilogueCode::kMaxOperands];
        TileOutput outputs[EpilogueCode::kMaxResults];
        for (int64_t k = 0; k < s.epilogue.operands; ++k) {
          const int64_t o = s.first + k;
          operands[k] = {static_cast<const float*>(args.inputs[o]) + operand(o, y + i, x),
                         s.strides[o][2], s.strides[o][3]};
        }
        for (int64_t k = 0; k < s.outputs; ++k) {
          const int64_t o = s.inputs + k;
          outputs[k] = {static_cast<float*>(args.outputs[k]) + operand(o, y + i, x),
                        s.strides[o][2], s.strides[o][3]};
        }
        run_epilogue(s.epilogue, to[i], s.ld, last - x, s.c, operands, outputs,
                     tile + 2 * s.chunk * s.ld);
      }
    }
  }
}

}  // namespace
}  // namespace vitrail
