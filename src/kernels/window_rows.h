// SPDX-License-Identifier: Apache-2.0
// Depthwise convolution of rows that lie in cache, channels last. Included by the files compiled
// per ISA.
#pragma once
#include "base/pointwise.h"
#include "kernels/simd.h"

namespace vitrail {
namespace {

/// A window over `e` channels, whose pixels and taps are `padded_e` floats apart.
struct RowWindow {
  int64_t kh, kw, stride_w, e, padded_e;
};

/// Brings `count` floats towards the cache while something else is computed: one load a line, whose
/// result nobody waits for. Prefetch instructions changed nothing here (Zen 5), loads take a sixth
/// off the time of an image that does not fit the caches.
inline void touch_row(const float* from, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) asm volatile("" ::"r"(from[i]));
}

/// One vector of channels of a row of outputs. `rows`: the kh rows under it. kTaps: 9 keeps a 3 x 3
/// window's weights in registers, 0 is any window.
template <int kTaps, typename Activation>
void window_column(const RowWindow& s, const float* const* rows, const float* weight, Vec bias,
                   int64_t channel, int64_t cols, float* to, Activation activation) {
  const int64_t e = s.padded_e;
  if constexpr (kTaps == 9) {
    Vec w[9];
#pragma GCC unroll 9
    for (int t = 0; t < 9; ++t) w[t] = Vec::load(weight + t * e);
    for (int64_t x = 0; x < cols; ++x) {
      const int64_t at = x * s.stride_w * e + channel;
      Vec sum = bias;
#pragma GCC unroll 3
      for (int r = 0; r < 3; ++r)
#pragma GCC unroll 3
        for (int q = 0; q < 3; ++q) sum = fma(Vec::load(rows[r] + at + q * e), w[3 * r + q], sum);
      activation(sum).store(to + x * e);
    }
  } else {
    for (int64_t x = 0; x < cols; ++x) {
      const int64_t at = x * s.stride_w * e + channel;
      Vec sum = bias;
      for (int64_t r = 0; r < s.kh; ++r)
        for (int64_t q = 0; q < s.kw; ++q)
          sum = fma(Vec::load(rows[r] + at + q * e), Vec::load(weight + (r * s.kw + q) * e), sum);
      activation(sum).store(to + x * e);
    }
  }
}

template <typename Activation>
void window_row(const RowWindow& s, const float* const* rows, const float* weight,
                const float* bias, int64_t cols, float* to, Activation activation) {
  for (int64_t j = 0; j < s.padded_e; j += Vec::kWidth) {
    const int64_t left = s.e - j;
    const Vec b = left > 0 ? load_upto(bias + j, static_cast<int>(left)) : Vec::zero();
    if (s.kh == 3 && s.kw == 3) {
      window_column<9>(s, rows, weight + j, b, j, cols, to + j, activation);
    } else {
      window_column<0>(s, rows, weight + j, b, j, cols, to + j, activation);
    }
  }
}

/// activation(sum over the window + bias) for `cols` pixels; op: gelu, swish, relu, or `constant`
/// for none. Channels from e to padded_e are made too, from what lies there.
void window_row(const RowWindow& s, const float* const* rows, const float* weight,
                const float* bias, int64_t cols, float* to, Pointwise op, float imm) {
  const Vec c = Vec::all(imm);
  switch (op) {
    case Pointwise::gelu:
      return window_row(s, rows, weight, bias, cols, to, [](Vec v) { return gelu(v); });
    case Pointwise::swish:
      return window_row(s, rows, weight, bias, cols, to, [=](Vec v) { return swish(v, c); });
    case Pointwise::relu:
      return window_row(s, rows, weight, bias, cols, to, [](Vec v) { return relu(v); });
    default:
      return window_row(s, rows, weight, bias, cols, to, [](Vec v) { return v; });
  }
}

}  // namespace
}  // namespace vitrail
