// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "ops/window.h"

namespace vitrail {

/// A convolution with all its numbers: x [batch, groups * in_channels, in], w [groups *
/// out_channels, in_channels, kernel], y [batch, groups * out_channels, out].
struct ConvShape {
  int64_t batch = 0, groups = 1, in_channels = 0, out_channels = 0;  ///< channels of one group
  Dims in;                                                           ///< three spatial extents
  std::vector<FixedWindowAxis> windows;                              ///< three
  Dims out_dims;                                                     ///< of y, in its own rank

  int64_t in_size() const { return in[0] * in[1] * in[2]; }
  int64_t out_size() const { return windows[0].out * windows[1].out * windows[2].out; }
  int64_t taps() const { return windows[0].kernel * windows[1].kernel * windows[2].kernel; }
};

// What the rules of Conv and ConvTranspose have in common.
/// Spatial extents of the weight (input `w`), checked against the input's and kernel_shape.
Shape kernel_of(InferContext& ctx, size_t w);
/// The attribute group, which must divide `channels` ("output channels") as far as they are known.
int64_t groups_of(const InferContext& ctx, const Expr& channels, const char* what);
/// Checks the bias (input 2), where there is one.
void check_bias(InferContext& ctx, const Expr& channels);

/// Shape rule of x [N, C, ...] and w [M, C/group, ...] (inputs 0 and `w`); returns the windows.
std::vector<WindowAxis> infer_conv(InferContext& ctx, size_t w = 1);
ConvShape conv_shape(const RunContext& ctx, size_t w = 1);

/// Calls tap(x offset, w offset) for every product of output element (n, g, m, z, y, x), in the
/// order channel, kernel z, y, x. Offsets in elements; padding is left out.
template <typename Tap>
void for_each_tap(const ConvShape& s, int64_t n, int64_t g, int64_t m, const int64_t (&position)[3],
                  Tap tap) {
  for (int64_t c = 0; c < s.in_channels; ++c) {
    const int64_t x_plane = ((n * s.groups + g) * s.in_channels + c) * s.in_size();
    const int64_t w_plane = ((g * s.out_channels + m) * s.in_channels + c) * s.taps();
    int64_t tap_index = 0, at[3];
    const auto inside = [&](int axis, int64_t k) {
      const FixedWindowAxis& a = s.windows[static_cast<size_t>(axis)];
      at[axis] = position[axis] * a.stride - a.pad_begin + k * a.dilation;
      return 0 <= at[axis] && at[axis] < s.in[static_cast<size_t>(axis)];
    };
    for (int64_t kz = 0; kz < s.windows[0].kernel; ++kz)
      for (int64_t ky = 0; ky < s.windows[1].kernel; ++ky)
        for (int64_t kx = 0; kx < s.windows[2].kernel; ++kx, ++tap_index)
          if (inside(0, kz) && inside(1, ky) && inside(2, kx))
            tap(x_plane + (at[0] * s.in[1] + at[1]) * s.in[2] + at[2], w_plane + tap_index);
  }
}

/// Calls each(output offset, n, g, m, position) for every output element in dense order.
template <typename Each>
void for_each_output(const ConvShape& s, Each each) {
  int64_t offset = 0;
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t g = 0; g < s.groups; ++g)
      for (int64_t m = 0; m < s.out_channels; ++m)
        for (int64_t z = 0; z < s.windows[0].out; ++z)
          for (int64_t y = 0; y < s.windows[1].out; ++y)
            for (int64_t x = 0; x < s.windows[2].out; ++x) each(offset++, n, g, m, {z, y, x});
}

/// The plain reference: each output is one sum in float64 that starts from the bias (may be null).
template <typename T>
void plain_conv(const ConvShape& s, const T* x, const T* w, const T* bias, T* y) {
  for_each_output(
      s, [&](int64_t offset, int64_t n, int64_t g, int64_t m, const int64_t(&position)[3]) {
        double sum = bias ? static_cast<double>(bias[g * s.out_channels + m]) : 0;
        for_each_tap(s, n, g, m, position, [&](int64_t i, int64_t k) {
          sum += static_cast<double>(x[i]) * static_cast<double>(w[k]);
        });
        y[offset] = static_cast<T>(sum);
      });
}
/// The transpose of the convolution `s`: every element of `x` (the convolution's output) adds its
/// weights, scaled, to `sums` (the convolution's input).
template <typename T>
void plain_conv_transpose(const ConvShape& s, const T* x, const T* w, double* sums) {
  for_each_output(
      s, [&](int64_t offset, int64_t n, int64_t g, int64_t m, const int64_t(&position)[3]) {
        for_each_tap(s, n, g, m, position, [&](int64_t i, int64_t k) {
          sums[i] += static_cast<double>(x[offset]) * static_cast<double>(w[k]);
        });
      });
}

}  // namespace vitrail
