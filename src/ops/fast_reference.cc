// SPDX-License-Identifier: Apache-2.0
#include "ops/fast_reference.h"

#include <algorithm>
#include <cstring>

#include "base/machine.h"
#include "base/round.h"
#include "ops/parallel.h"

namespace vitrail::fast {
namespace {

constexpr int64_t kWorthwhile = 1'000'000;
constexpr int64_t kBlockElements = int64_t{1} << 21;  // packed float64 of one side: 16 MiB

// ---------------------------------------------------------------- tiles
// acc[mr][nr] += a panel [k][mr] * b panel [k][nr]. Vectors of the compiler, so that one body
// serves all levels; it is inlined into a function compiled for each.
template <int Lanes, int Mr>
inline __attribute__((always_inline)) void tile_body(int64_t k, const double* a, const double* b,
                                                     double* acc) {
  typedef double V
      __attribute__((vector_size(Lanes * sizeof(double)), aligned(sizeof(double)), may_alias));
  V sum[Mr][2];
  for (int i = 0; i < Mr; ++i)
    for (int j = 0; j < 2; ++j) sum[i][j] = *reinterpret_cast<const V*>(acc + (i * 2 + j) * Lanes);
  for (int64_t p = 0; p < k; ++p, a += Mr, b += 2 * Lanes) {
    const V b0 = *reinterpret_cast<const V*>(b), b1 = *reinterpret_cast<const V*>(b + Lanes);
#pragma GCC unroll 8
    for (int i = 0; i < Mr; ++i) {
      sum[i][0] += a[i] * b0;
      sum[i][1] += a[i] * b1;
    }
  }
  for (int i = 0; i < Mr; ++i)
    for (int j = 0; j < 2; ++j) *reinterpret_cast<V*>(acc + (i * 2 + j) * Lanes) = sum[i][j];
}
void tile_baseline(int64_t k, const double* a, const double* b, double* acc) {
  tile_body<2, 4>(k, a, b, acc);
}
__attribute__((target("avx2"))) void tile_avx2(int64_t k, const double* a, const double* b,
                                               double* acc) {
  tile_body<4, 4>(k, a, b, acc);
}
__attribute__((target("avx512f"))) void tile_avx512(int64_t k, const double* a, const double* b,
                                                    double* acc) {
  tile_body<8, 8>(k, a, b, acc);
}

struct Tile {
  int64_t mr, nr;
  void (*run)(int64_t k, const double* a, const double* b, double* acc);
};
constexpr int64_t kMaxTile = 8 * 16;
Tile tile_of_machine() {
  switch (this_machine().isa) {
    case Isa::avx512:
      return {8, 16, tile_avx512};
    case Isa::avx2:
      return {4, 8, tile_avx2};
    default:
      return {4, 4, tile_baseline};
  }
}

int64_t block_of(int64_t extent, int64_t k, int64_t unit) {
  return std::min(round_up(extent, unit),
                  std::max(unit, kBlockElements / std::max<int64_t>(k, 1) / unit * unit));
}

// The product of an m x k and a k x n matrix given by what packs their panels:
//   pack_a(i, rows, to): rows i.. of a as to[k][mr];  pack_b(j, columns, to): columns j.. of b as
//   to[k][nr]; start(i): the value that the sums of row i start from;  store(i, j, count, values).
// Panels are zeroed before they are packed, so that short ones need no care.
template <typename PackA, typename PackB, typename Start, typename Store>
void multiply_panels(int64_t m, int64_t n, int64_t k, const PackA& pack_a, const PackB& pack_b,
                     const Start& start, const Store& store) {
  const Tile tile = tile_of_machine();
  const int64_t m_block = block_of(m, k, tile.mr), n_block = block_of(n, k, tile.nr);
  std::vector<double> a(static_cast<size_t>(m_block * k)), b(static_cast<size_t>(n_block * k));
  constexpr int64_t kPanelsPerTask = 8;
  for (int64_t j0 = 0; j0 < n; j0 += n_block) {
    const int64_t n_here = std::min(n_block, n - j0),
                  b_panels = round_up(n_here, tile.nr) / tile.nr;
    parallel_for(b_panels, [&](int64_t p) {
      double* to = b.data() + p * tile.nr * k;
      const int64_t columns = std::min(tile.nr, n_here - p * tile.nr);
      if (columns < tile.nr) std::fill_n(to, tile.nr * k, 0.0);
      pack_b(j0 + p * tile.nr, columns, tile.nr, to);
    });
    for (int64_t i0 = 0; i0 < m; i0 += m_block) {
      const int64_t m_here = std::min(m_block, m - i0),
                    a_panels = round_up(m_here, tile.mr) / tile.mr;
      if (j0 == 0 || m_block < m)  // otherwise a is there already
        parallel_for(a_panels, [&](int64_t p) {
          double* to = a.data() + p * tile.mr * k;
          const int64_t rows = std::min(tile.mr, m_here - p * tile.mr);
          if (rows < tile.mr) std::fill_n(to, tile.mr * k, 0.0);
          pack_a(i0 + p * tile.mr, rows, tile.mr, to);
        });
      const int64_t row_tasks = round_up(a_panels, kPanelsPerTask) / kPanelsPerTask;
      parallel_for(row_tasks * b_panels, [&](int64_t task) {
        const int64_t q = task / row_tasks, first = task % row_tasks * kPanelsPerTask;
        const int64_t j = j0 + q * tile.nr, columns = std::min(tile.nr, n - j);
        for (int64_t p = first; p < std::min(first + kPanelsPerTask, a_panels); ++p) {
          alignas(64) double acc[kMaxTile];
          const int64_t i = i0 + p * tile.mr;
          for (int64_t r = 0; r < tile.mr; ++r)
            std::fill_n(acc + r * tile.nr, tile.nr, i + r < m ? start(i + r) : 0.0);
          tile.run(k, a.data() + p * tile.mr * k, b.data() + q * tile.nr * k, acc);
          for (int64_t r = 0; r < std::min(tile.mr, m - i); ++r)
            store(i + r, j, columns, acc + r * tile.nr);
        }
      });
    }
  }
}

// Rows i.. of a dense matrix with the strides (row, column) as to[k][width].
template <typename T>
void pack(const T* from, int64_t row_stride, int64_t column_stride, int64_t count, int64_t width,
          int64_t k, double* to) {
  for (int64_t p = 0; p < k; ++p)
    for (int64_t r = 0; r < count; ++r)
      to[p * width + r] = static_cast<double>(from[r * row_stride + p * column_stride]);
}

template <typename T>
void matmul_one(int64_t m, int64_t n, int64_t k, const T* a, const T* b, T* c) {
  multiply_panels(
      m, n, k,
      [&](int64_t i, int64_t rows, int64_t width, double* to) {
        pack(a + i * k, k, 1, rows, width, k, to);
      },
      [&](int64_t j, int64_t columns, int64_t width, double* to) {
        pack(b + j, 1, n, columns, width, k, to);
      },
      [](int64_t) { return 0.0; },
      [&](int64_t i, int64_t j, int64_t count, const double* values) {
        for (int64_t x = 0; x < count; ++x) c[i * n + j + x] = static_cast<T>(values[x]);
      });
}

// ---------------------------------------------------------------- convolution
// Columns of the matrix [in_channels * taps, out_size] that a convolution multiplies its weights
// with (im2col), for `columns` positions from `first` on.
template <typename T>
void pack_columns(const ConvShape& s, const T* x, int64_t first, int64_t columns, int64_t width,
                  double* to) {
  const FixedWindowAxis &az = s.windows[0], &ay = s.windows[1], &ax = s.windows[2];
  int64_t start[3][16], offset[16];
  for (int64_t c = 0; c < columns; ++c) {
    const int64_t p = first + c;
    start[0][c] = p / (ay.out * ax.out) * az.stride - az.pad_begin;
    start[1][c] = p / ax.out % ay.out * ay.stride - ay.pad_begin;
    start[2][c] = p % ax.out * ax.stride - ax.pad_begin;
  }
  const int64_t taps = s.taps(), plane = s.in_size();
  int64_t tap = 0;
  for (int64_t kz = 0; kz < az.kernel; ++kz)
    for (int64_t ky = 0; ky < ay.kernel; ++ky)
      for (int64_t kx = 0; kx < ax.kernel; ++kx, ++tap) {
        for (int64_t c = 0; c < columns; ++c) {
          const int64_t z = start[0][c] + kz * az.dilation, y = start[1][c] + ky * ay.dilation,
                        w = start[2][c] + kx * ax.dilation;
          const bool inside =
              0 <= z && z < s.in[0] && 0 <= y && y < s.in[1] && 0 <= w && w < s.in[2];
          offset[c] = inside ? (z * s.in[1] + y) * s.in[2] + w : -1;
        }
        for (int64_t channel = 0; channel < s.in_channels; ++channel) {
          double* row = to + (channel * taps + tap) * width;
          const T* from = x + channel * plane;
          for (int64_t c = 0; c < columns; ++c)
            row[c] = offset[c] < 0 ? 0.0 : static_cast<double>(from[offset[c]]);
        }
      }
}

// sums[x] += w * in[x * stride + shift] where that is inside.
template <typename T>
void add_row(double* sums, int64_t out, const T* in, int64_t extent, int64_t stride, int64_t shift,
             double w) {
  const int64_t first = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
  const int64_t last = shift >= extent ? 0 : std::min(out, (extent - shift + stride - 1) / stride);
  if (stride == 1) {
    for (int64_t x = first; x < last; ++x) sums[x] += w * static_cast<double>(in[x + shift]);
  } else {
    for (int64_t x = first; x < last; ++x)
      sums[x] += w * static_cast<double>(in[x * stride + shift]);
  }
}

// Few output channels a group (depthwise): a row of sums at a time, straight from the input.
template <typename T>
void conv_rows(const ConvShape& s, const T* x, const T* w, const T* bias, T* y) {
  const FixedWindowAxis &az = s.windows[0], &ay = s.windows[1], &ax = s.windows[2];
  parallel_for(s.batch * s.groups * s.out_channels, [&](int64_t plane) {
    const int64_t m = plane % (s.groups * s.out_channels), image_group = plane / s.out_channels;
    std::vector<double> sums(static_cast<size_t>(ax.out));
    for (int64_t row = 0; row < az.out * ay.out; ++row) {
      std::fill(sums.begin(), sums.end(), bias ? static_cast<double>(bias[m]) : 0.0);
      const T* weight = w + m * s.in_channels * s.taps();
      for (int64_t c = 0; c < s.in_channels; ++c) {
        const T* in = x + (image_group * s.in_channels + c) * s.in_size();
        for (int64_t kz = 0; kz < az.kernel; ++kz)
          for (int64_t ky = 0; ky < ay.kernel; ++ky) {
            const int64_t z = row / ay.out * az.stride - az.pad_begin + kz * az.dilation;
            const int64_t v = row % ay.out * ay.stride - ay.pad_begin + ky * ay.dilation;
            const bool inside = 0 <= z && z < s.in[0] && 0 <= v && v < s.in[1];
            for (int64_t kx = 0; kx < ax.kernel; ++kx, ++weight)
              if (inside)
                add_row(sums.data(), ax.out, in + (z * s.in[1] + v) * s.in[2], s.in[2], ax.stride,
                        kx * ax.dilation - ax.pad_begin, static_cast<double>(*weight));
          }
      }
      for (int64_t i = 0; i < ax.out; ++i)
        y[(plane * az.out * ay.out + row) * ax.out + i] =
            static_cast<T>(sums[static_cast<size_t>(i)]);
    }
  });
}
}  // namespace

bool worthwhile(int64_t batches, int64_t m, int64_t n, int64_t k) {
  // In floating point: the product of four extents may leave 64 bits.
  return static_cast<double>(batches) * static_cast<double>(m) * static_cast<double>(n) *
             static_cast<double>(k) >=
         kWorthwhile;
}
bool worthwhile(const ConvShape& s) {
  return worthwhile(s.batch * s.groups, s.out_channels, s.out_size(), s.in_channels * s.taps());
}

template <typename T>
void matmul(const MatmulShape& s, const T* a, const T* b, T* c) {
  // A batch of one runs its panels in parallel instead.
  parallel_for(s.batches(), [&](int64_t i) {
    matmul_one(s.m, s.n, s.k, a + s.a_at[static_cast<size_t>(i)],
               b + s.b_at[static_cast<size_t>(i)], c + i * s.m * s.n);
  });
}

template <typename T>
void conv(const ConvShape& s, const T* x, const T* w, const T* bias, T* y) {
  constexpr int64_t kFewChannels = 2;
  if (s.out_channels <= kFewChannels) return conv_rows(s, x, w, bias, y);
  const int64_t k = s.in_channels * s.taps(), n = s.out_size();
  parallel_for(s.batch * s.groups, [&](int64_t image_group) {
    const int64_t first = image_group % s.groups * s.out_channels;
    const T* in = x + image_group * s.in_channels * s.in_size();
    T* out = y + image_group * s.out_channels * n;
    multiply_panels(
        s.out_channels, n, k,
        [&](int64_t i, int64_t rows, int64_t width, double* to) {
          pack(w + (first + i) * k, k, 1, rows, width, k, to);
        },
        [&](int64_t j, int64_t columns, int64_t width, double* to) {
          pack_columns(s, in, j, columns, width, to);
        },
        [&](int64_t i) { return bias ? static_cast<double>(bias[first + i]) : 0.0; },
        [&](int64_t i, int64_t j, int64_t count, const double* values) {
          for (int64_t c = 0; c < count; ++c) out[i * n + j + c] = static_cast<T>(values[c]);
        });
  });
}

template <typename T>
void conv_transpose(const ConvShape& s, const T* x, const T* w, double* sums) {
  // products[in_channels * taps, out_size] = wT x, then each row is added where its tap points.
  const int64_t rows = s.in_channels * s.taps(), n = s.out_size(), taps = s.taps();
  const FixedWindowAxis &az = s.windows[0], &ay = s.windows[1], &ax = s.windows[2];
  const auto scatter = [&](int64_t row, const double* products, double* plane) {
    const int64_t tap = row % taps, kz = tap / (ay.kernel * ax.kernel),
                  ky = tap / ax.kernel % ay.kernel, kx = tap % ax.kernel;
    for (int64_t p = 0; p < n; ++p) {
      const int64_t z = p / (ay.out * ax.out) * az.stride - az.pad_begin + kz * az.dilation;
      const int64_t v = p / ax.out % ay.out * ay.stride - ay.pad_begin + ky * ay.dilation;
      const int64_t u = p % ax.out * ax.stride - ax.pad_begin + kx * ax.dilation;
      if (0 <= z && z < s.in[0] && 0 <= v && v < s.in[1] && 0 <= u && u < s.in[2])
        plane[(z * s.in[1] + v) * s.in[2] + u] += products[p];
    }
  };
  for (int64_t image_group = 0; image_group < s.batch * s.groups; ++image_group) {
    const T* weight = w + image_group % s.groups * s.out_channels * rows;
    const T* in = x + image_group * s.out_channels * n;
    std::vector<double> products(static_cast<size_t>(rows * n));
    multiply_panels(
        rows, n, s.out_channels,
        [&](int64_t i, int64_t count, int64_t width, double* to) {
          pack(weight + i, 1, rows, count, width, s.out_channels, to);
        },
        [&](int64_t j, int64_t count, int64_t width, double* to) {
          pack(in + j, 1, n, count, width, s.out_channels, to);
        },
        [](int64_t) { return 0.0; },
        [&](int64_t i, int64_t j, int64_t count, const double* values) {
          std::copy_n(values, count, products.data() + i * n + j);
        });
    parallel_for(s.in_channels, [&](int64_t c) {
      for (int64_t tap = 0; tap < taps; ++tap)
        scatter(c * taps + tap, products.data() + (c * taps + tap) * n,
                sums + (image_group * s.in_channels + c) * s.in_size());
    });
  }
}

template void matmul(const MatmulShape&, const float*, const float*, float*);
template void matmul(const MatmulShape&, const double*, const double*, double*);
template void conv(const ConvShape&, const float*, const float*, const float*, float*);
template void conv(const ConvShape&, const double*, const double*, const double*, double*);
template void conv_transpose(const ConvShape&, const float*, const float*, double*);
template void conv_transpose(const ConvShape&, const double*, const double*, double*);

}  // namespace vitrail::fast
