// SPDX-License-Identifier: Apache-2.0
// Dense convolution of few channels on tensor cores: a block reads its pixels with the window's border and all
// weights into shared memory once, then every tap is a matrix product of shifted rows. As a product whose A is
// gathered tap by tap (gemm_mma.cuh) each pixel would come from the second-level cache once a tap.
//
// Cfg: T; C, O channels; WIDE channels of a tap in the packed weight, NB its row length; KH, KW, S; TY, TX pixels
// of a block; MT 16-pixel tiles of a warp; VX elements of one copy of x; PT, PL pads; H(a), W(a), OH(a), OW(a);
// pixel(a, image, y, x).
template <class Cfg> struct ConvWindow {
  typedef typename Cfg::T T;
  static constexpr int TP = Cfg::TY * Cfg::TX, MT = Cfg::MT, kWarps = TP / 16 / MT, kThreads = 32 * kWarps, kTaps = Cfg::KH * Cfg::KW;
  static constexpr int HX = (Cfg::TX - 1) * Cfg::S + Cfg::KW, HP = ((Cfg::TY - 1) * Cfg::S + Cfg::KH) * HX;
  static constexpr int CP = (Cfg::C + 15) / 16 * 16, OP = (Cfg::O + 15) / 16 * 16;
  // An odd number of 16-byte chunks a row: eight rows of one chunk lie in eight groups of banks.
  static constexpr int kRowX = (CP + 8) * 2, kRowW = (OP + 8) * 2, kBytesX = HP * kRowX, kPitch = OP + 4;

  static __device__ __forceinline__ void load_weights(const Args& a, u32 to) {
    for (int i = threadIdx.x; i < kTaps * CP * (OP / 8); i += kThreads) {
      const int row = i / (OP / 8), n = i % (OP / 8) * 8, tap = row / CP, c = row % CP;
      const bool inside = c < Cfg::WIDE && n < Cfg::NB;
      vt_copy16(to + row * kRowW + n * 2, a.in1 + (inside ? (tap * Cfg::WIDE + c) * Cfg::NB + n : 0), inside ? 16 : 0);
    }
  }
  static __device__ __forceinline__ void load_pixels(const Args& a, int image, int top, int left, u32 to) {
    constexpr int kCols = CP / Cfg::VX;
    for (int i = threadIdx.x; i < HP * kCols; i += kThreads) {
      const int p = i / kCols, c = i % kCols * Cfg::VX, y = top + p / HX, x = left + p % HX, rest = Cfg::C - c;
      const bool inside = (unsigned)y < (unsigned)Cfg::H(a) && (unsigned)x < (unsigned)Cfg::W(a);
      const int count = inside && rest > 0 ? (rest < Cfg::VX ? rest : Cfg::VX) : 0;
      vt_copy<Cfg::VX * 2>(to + p * kRowX + c * 2, count ? Cfg::pixel(a, image, y, x) + c : a.in0, count * 2);
    }
  }

  static __device__ __forceinline__ void run(const Args& a) {
    extern __shared__ __align__(128) char memory[];
    const u32 x_at = vt_shared(memory), w_at = x_at + kBytesX;
    vt_trigger();
    const int across = (Cfg::OW(a) + Cfg::TX - 1) / Cfg::TX, down = (Cfg::OH(a) + Cfg::TY - 1) / Cfg::TY;
    const int ox = (int)blockIdx.x % across * Cfg::TX, oy = (int)blockIdx.x / across % down * Cfg::TY, image = (int)blockIdx.x / (across * down);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    load_weights(a, w_at);
    vt_wait();
    load_pixels(a, image, oy * Cfg::S - Cfg::PT, ox * Cfg::S - Cfg::PL, x_at);
    vt_commit();
    u32 from[MT];
#pragma unroll
    for (int i = 0; i < MT; ++i) {
      const int p = (warp * MT + i) * 16 + lane % 16;
      from[i] = x_at + (p / Cfg::TX * HX + p % Cfg::TX) * Cfg::S * kRowX + lane / 16 * 16;
    }
    const u32 weight = w_at + lane % 16 * kRowW + lane / 16 * 16;
    float acc[MT][OP / 8][4];
#pragma unroll
    for (int i = 0; i < MT; ++i)
#pragma unroll
      for (int j = 0; j < OP / 8; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) acc[i][j][e] = 0;
    vt_wait_copies<0>();
    __syncthreads();
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap)
#pragma unroll
      for (int k = 0; k < CP / 16; ++k) {
        u32 fa[MT][4];
#pragma unroll
        for (int i = 0; i < MT; ++i) vt_ldmatrix4(fa[i], from[i] + (tap / Cfg::KW * HX + tap % Cfg::KW) * kRowX + k * 32);
#pragma unroll
        for (int j = 0; j < OP / 16; ++j) {
          u32 fb[4];
          vt_ldmatrix4_transposed(fb, weight + (tap * CP + k * 16) * kRowW + j * 32);
#pragma unroll
          for (int i = 0; i < MT; ++i) {
            vt_mma<T>(acc[i][2 * j], fa[i], fb[0], fb[1]);
            vt_mma<T>(acc[i][2 * j + 1], fa[i], fb[2], fb[3]);
          }
        }
      }
    __syncthreads();
    float* tile = reinterpret_cast<float*>(memory);
#pragma unroll
    for (int i = 0; i < MT; ++i)
#pragma unroll
      for (int j = 0; j < OP / 8; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          *reinterpret_cast<float2*>(tile + ((warp * MT + i) * 16 + half * 8 + lane / 4) * kPitch + j * 8 + lane % 4 * 2) =
              make_float2(acc[i][j][half * 2], acc[i][j][half * 2 + 1]);
    __syncthreads();
    constexpr int V = Tail::V, kCols = (Cfg::O + V - 1) / V;
#pragma unroll 2
    for (int i = threadIdx.x; i < TP * kCols; i += kThreads) {
      const int p = i / kCols, c = i % kCols * V, y = oy + p / Cfg::TX, x = ox + p % Cfg::TX;
      if (y >= Cfg::OH(a) || x >= Cfg::OW(a)) continue;
      float v[V];
      vt_load<V>(tile + p * kPitch + c, v);
      vt_finish<Tail>(a, (image * Cfg::OH(a) + y) * Cfg::OW(a) + x, c, Cfg::O, v);
    }
  }
};
