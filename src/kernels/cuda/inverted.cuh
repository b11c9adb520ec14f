// SPDX-License-Identifier: Apache-2.0
// Expansion, depthwise window and projection in one pass, all three on tensor cores: a block makes TY x TX
// pixels. Their pixels with the window's border are read once, normalized if asked, and kept; the hidden channels
// go by in chunks of EC. Between two barriers every warp expands its part of the next chunk, and takes its own
// pixels of the present one through the window, the second activation and, in registers, into the result's
// accumulators. Products of 16-bit operands, everything else in float32.
//
// Cfg: T; C, E, O channels; EP row length of the first packed weight; TY, TX, S, KH, KW; MT 16-pixel tiles of a
// warp; RESIDENT chunks' weights that are kept when that is all of them; WK warps that share them, each with its part of a chunk's channels; EC; PT, PL pads; NORM; VX elements of
// one access to x, WHOLE: also at the end of its rows; first(x, gelu), second(x, gelu) activations (gelu: vt_gelu_first()); H(a), W(a), OH(a),
// OW(a); pixel(a, image, y, x).
template <class Cfg> struct Inverted {
  typedef typename Cfg::T T;
  static constexpr int TP = Cfg::TY * Cfg::TX, MT = Cfg::MT, WK = Cfg::WK, kRowWarps = TP / 16 / MT, kWarps = kRowWarps * WK;
  static constexpr int kThreads = 32 * kWarps, EC = Cfg::EC, kGroups = EC / 16;
  static constexpr int HY = (Cfg::TY - 1) * Cfg::S + Cfg::KH, HX = (Cfg::TX - 1) * Cfg::S + Cfg::KW, HP = (HY * HX + 15) / 16 * 16;
  static constexpr int CP = (Cfg::C + 15) / 16 * 16, OP = (Cfg::O + 15) / 16 * 16, kChunks = (Cfg::E + EC - 1) / EC;
  // An odd number of 16-byte chunks a row: eight rows of one chunk lie in eight groups of banks.
  static constexpr int kRowX = (CP + 8) * 2, kRowE = (EC + 8) * 2, kRowO = (OP + 8) * 2;
  typedef Window<T, Cfg::KH, Cfg::KW, HX, kRowE> Taps;
  static constexpr int kBytesX = HP * kRowX, kBytesH = HP * kRowE, kBytesW1 = CP * kRowE, kBytesW2 = EC * kRowO, kBytesD = EC / 8 * Taps::kBytes;
  static constexpr int kSecond = kBytesW2 + kBytesD, kPitch = OP + 4;
  // Buffers of weights: all chunks' where they are few.
  static constexpr int kBuffers = kChunks <= Cfg::RESIDENT ? kChunks : 2;
  static constexpr bool kStream = kBuffers < kChunks;
  static constexpr int kStep = kWarps / kGroups, kTiles = HP / 16, kMine = (kTiles + kStep - 1) / kStep;
  static_assert(kWarps % kGroups == 0 && TP % (16 * MT) == 0 && kGroups % WK == 0 && kMine <= 16, "");

  static __device__ __forceinline__ void load_first(const Args& a, int e0, u32 to, int thread) {
#pragma unroll
    for (int first = 0; first < CP * (EC / 8); first += kThreads) {
      const int i = first + thread;
      if (CP * (EC / 8) % kThreads != 0 && i >= CP * (EC / 8)) break;
      const int k = i / (EC / 8), n = i % (EC / 8) * 8;
      const bool inside = k < Cfg::C && e0 + n < Cfg::EP;
      vt_copy16(to + k * kRowE + n * 2, a.in1 + (inside ? k * Cfg::EP + e0 + n : 0), inside ? 16 : 0);
    }
  }
  static __device__ __forceinline__ void load_second(const Args& a, int e0, u32 to, int thread) {
#pragma unroll
    for (int first = 0; first < EC * (OP / 8); first += kThreads) {
      const int i = first + thread;
      if (EC * (OP / 8) % kThreads != 0 && i >= EC * (OP / 8)) break;
      const int k = i / (OP / 8), n = i % (OP / 8) * 8;
      const bool inside = e0 + k < Cfg::E;
      vt_copy16(to + k * kRowO + n * 2, a.in5 + (inside ? (e0 + k) * OP + n : 0), inside ? 16 : 0);
    }
    const char* taps = reinterpret_cast<const char*>(a.in3) + e0 / 8 * Taps::kBytes;
#pragma unroll
    for (int first = 0; first < kBytesD / 16; first += kThreads) {
      const int i = first + thread;
      if (kBytesD / 16 % kThreads != 0 && i >= kBytesD / 16) break;
      const bool inside = e0 + i * 16 / Taps::kBytes * 8 < Cfg::EP;
      vt_copy16(to + kBytesW2 + i * 16, inside ? taps + i * 16 : taps, inside ? 16 : 0);
    }
  }

  // Rows of x with the border to shared memory: L lanes a pixel, 8 channels a lane, several pixels on their way.
  static __device__ __forceinline__ void load_pixels(const Args& a, int image, int top, int left, char* to) {
    constexpr int L = CP <= 16 ? 2 : CP <= 32 ? 4 : CP <= 64 ? 8 : 16, kPixels = kThreads / L, kRounds = (HP + kPixels - 1) / kPixels;
    constexpr int kBatches = (kRounds + 3) / 4, kAhead = (kRounds + kBatches - 1) / kBatches;
    static_assert(CP <= 128, "");
    const int lane = threadIdx.x % L, col = lane * 8;
    for (int p0 = threadIdx.x / L; p0 < HP; p0 += kPixels * kAhead) {
      float v[kAhead][8];
#pragma unroll
      for (int u = 0; u < kAhead; ++u) {
        const int p = p0 + u * kPixels, y = top + p / HX, x = left + p % HX;
        const bool inside = p < HY * HX && (unsigned)y < (unsigned)Cfg::H(a) && (unsigned)x < (unsigned)Cfg::W(a);
        vt_fill<8>(0.0f, v[u]);
        if (!inside || col >= Cfg::C) continue;
        const T* from = Cfg::pixel(a, image, y, x) + col;
        if (Cfg::VX == 8 && (Cfg::WHOLE || col + 8 <= Cfg::C)) {
          vt_load<8>(from, v[u]);
#pragma unroll
          for (int e = 0; e < 8; ++e)
            if (Cfg::WHOLE && Cfg::C % 8 != 0 && e >= Cfg::C % 8) v[u][e] = col + e < Cfg::C ? v[u][e] : 0.0f;
        } else {
#pragma unroll
          for (int e = 0; e < 8; ++e) v[u][e] = col + e < Cfg::C ? vt_float(from[e]) : 0.0f;
        }
      }
#pragma unroll
      for (int u = 0; u < kAhead; ++u) {
        if (Cfg::NORM) {
          float sum = 0;
#pragma unroll
          for (int e = 0; e < 8; ++e) sum += v[u][e];
#pragma unroll
          for (int i = L / 2; i > 0; i /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, i);
          const float mean = sum * (1.0f / Cfg::C);
          float square = 0;
#pragma unroll
          for (int e = 0; e < 8; ++e) {
            v[u][e] = col + e < Cfg::C ? v[u][e] - mean : 0.0f;
            square += v[u][e] * v[u][e];
          }
#pragma unroll
          for (int i = L / 2; i > 0; i /= 2) square += __shfl_xor_sync(0xffffffffu, square, i);
          const float inverse = vt_rsqrt(square * (1.0f / Cfg::C) + Cfg::eps());
#pragma unroll
          for (int e = 0; e < 8; ++e) v[u][e] *= inverse;
        }
        const int p = p0 + u * kPixels;
        if (p < HP && col < CP) vt_store<8>(reinterpret_cast<T*>(to + p * kRowX + col * 2), v[u]);
      }
    }
  }

  // Hidden channels e0.. of this warp's 16-pixel tiles, zero outside the image.
  static __device__ __forceinline__ void expand(const Args& a, int e0, u32 inside, u32 x_at, u32 w1, char* hidden) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n0 = warp % kGroups * 16;
    constexpr bool kKeep = CP <= 64;  // this warp's columns of the weight stay in registers
    const float gelu = vt_gelu_first();
    float bias[2][4];
    vt_column_bias(a.in2, e0 + n0, Cfg::E, bias);
    u32 kept[kKeep ? CP / 16 : 1][4];
#pragma unroll
    for (int k = 0; kKeep && k < CP / 16; ++k) vt_ldmatrix4_transposed(kept[k], w1 + (k * 16 + lane % 16) * kRowE + (n0 + lane / 16 * 8) * 2);
    const u32 from = x_at + (warp / kGroups * 16 + lane % 16) * kRowX + lane / 16 * 16;
    char* const to = hidden + (warp / kGroups * 16 + lane / 4) * kRowE + (n0 + lane % 4 * 2) * 2;
    const u32 w = w1 + lane % 16 * kRowE + (n0 + lane / 16 * 8) * 2;
    // Two tiles at a time, so that one's products run under the other's activations.
#pragma unroll 1
    for (int i = 0; i < kMine; i += 2, inside >>= 4) {
      if (i + 1 < kMine && warp / kGroups + (i + 1) * kStep < kTiles)
        expand_tiles<2>(kept, bias, gelu, inside, from + i * kStep * 16 * kRowX, w, to + i * kStep * 16 * kRowE);
      else if (warp / kGroups + i * kStep < kTiles)
        expand_tiles<1>(kept, bias, gelu, inside, from + i * kStep * 16 * kRowX, w, to + i * kStep * 16 * kRowE);
    }
  }
  template <int N, int K> static __device__ __forceinline__ void expand_tiles(const u32 (&kept)[K][4], const float (&bias)[2][4], float gelu, u32 inside, u32 from, u32 w, char* to) {
    float acc[N][2][4];
#pragma unroll
    for (int k = 0; k < CP / 16; ++k) {
      u32 fb[4];
      if (K < CP / 16) vt_ldmatrix4_transposed(fb, w + k * 16 * kRowE);
#pragma unroll
      for (int f = 0; f < 4 && K == CP / 16; ++f) fb[f] = kept[K == 1 ? 0 : k][f];
#pragma unroll
      for (int u = 0; u < N; ++u) {
        u32 fa[4];
        vt_ldmatrix4(fa, from + u * kStep * 16 * kRowX + k * 32);
        if (k == 0) {
          vt_mma_from<T>(acc[u][0], fa, fb[0], fb[1], bias[0]);
          vt_mma_from<T>(acc[u][1], fa, fb[2], fb[3], bias[1]);
        } else {
          vt_mma<T>(acc[u][0], fa, fb[0], fb[1]);
          vt_mma<T>(acc[u][1], fa, fb[2], fb[3]);
        }
      }
    }
    u32 bits[N][4];
#pragma unroll
    for (int u = 0; u < N; ++u)
#pragma unroll
      for (int f = 0; f < 4; ++f) {
        const u32 real = 0u - (inside >> (2 * u + f / 2) & 1u);
        bits[u][f] = vt_pack<T>(Cfg::first(acc[u][f % 2][f / 2 * 2], gelu), Cfg::first(acc[u][f % 2][f / 2 * 2 + 1], gelu)) & real;
      }
#pragma unroll
    for (int u = 0; u < N; ++u)
#pragma unroll
      for (int f = 0; f < 4; ++f)
        *reinterpret_cast<u32*>(to + (u * kStep * 16 + f / 2 * 8) * kRowE + f % 2 * 16) = bits[u][f];
  }

  // The tail, on the block's results in shared memory.
  static __device__ __forceinline__ void finish(const Args& a, const float* tile, int image, int oy, int ox) {
    constexpr int V = Tail::V, kCols = (Cfg::O + V - 1) / V;
    for (int i = threadIdx.x; i < TP * kCols; i += kThreads) {
      const int p = i / kCols, c = i % kCols * V, y = oy + p / Cfg::TX, x = ox + p % Cfg::TX;
      if (y >= Cfg::OH(a) || x >= Cfg::OW(a)) continue;
      float v[V];
      vt_load<V>(tile + p * kPitch + c, v);
      vt_finish<Tail>(a, (image * Cfg::OH(a) + y) * Cfg::OW(a) + x, c, Cfg::O, v);
    }
  }

  static __device__ __forceinline__ void run(const Args& a) {
    extern __shared__ __align__(128) char memory[];
    char* const hidden = memory + kBytesX;
    char* const weights = hidden + 2 * kBytesH + kBuffers * kBytesW1;
    const u32 x_at = vt_shared(memory), h_at = x_at + kBytesX, w1_at = h_at + 2 * kBytesH, w2_at = w1_at + kBuffers * kBytesW1;
    vt_trigger();
    const int across = (Cfg::OW(a) + Cfg::TX - 1) / Cfg::TX, down = (Cfg::OH(a) + Cfg::TY - 1) / Cfg::TY;
    const int ox = (int)blockIdx.x % across * Cfg::TX, oy = (int)blockIdx.x / across % down * Cfg::TY, image = (int)blockIdx.x / (across * down);
    const int top = oy * Cfg::S - Cfg::PT, left = ox * Cfg::S - Cfg::PL;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    load_first(a, 0, w1_at, threadIdx.x);
    vt_commit();
#pragma unroll
    for (int c = 1; c < (kStream ? 2 : kChunks); ++c) load_first(a, c * EC, w1_at + c * kBytesW1, threadIdx.x);
#pragma unroll
    for (int c = 0; c < (kStream ? 1 : kChunks); ++c) load_second(a, c * EC, w2_at + c * kSecond, threadIdx.x);
    vt_commit();
    vt_wait();
    load_pixels(a, image, top, left, memory);

    // Which of the pixels whose hidden channels this lane makes lie in the image: a bit each.
    u32 inside = 0;
#pragma unroll
    for (int i = 0; i < kMine; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int p = (warp / kGroups + i * kStep) * 16 + half * 8 + lane / 4, y = top + p / HX, x = left + p % HX;
        inside |= (u32)((unsigned)y < (unsigned)Cfg::H(a) && (unsigned)x < (unsigned)Cfg::W(a)) << (2 * i + half);
      }
    const int wm = warp % kRowWarps, wk = warp / kRowWarps;
    u32 base[MT];
#pragma unroll
    for (int i = 0; i < MT; ++i) {
      const int p = (wm * MT + i) * 16 + lane % 16;
      base[i] = h_at + ((p / Cfg::TX * HX + p % Cfg::TX) * Cfg::S) * kRowE;
    }
    const float gelu = vt_gelu_first();
    float out[MT][OP / 8][4];
#pragma unroll
    for (int i = 0; i < MT; ++i)
#pragma unroll
      for (int j = 0; j < OP / 8; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) out[i][j][e] = 0;
    vt_wait_copies<1>();
    __syncthreads();
    expand(a, 0, inside, x_at, w1_at, hidden);
#pragma unroll 1
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      const int e0 = chunk * EC, odd = chunk % 2, mine = kStream ? odd : chunk, next = kStream ? odd ^ 1 : chunk + 1;
      if (kStream || chunk == 0) vt_wait_copies<0>();
      __syncthreads();
      if (kStream) {
        if (chunk + 2 < kChunks) load_first(a, e0 + 2 * EC, w1_at + odd * kBytesW1, threadIdx.x);
        if (chunk + 1 < kChunks) load_second(a, e0 + EC, w2_at + (odd ^ 1) * kSecond, threadIdx.x);
        vt_commit();
      }
      if (chunk + 1 < kChunks) expand(a, e0 + EC, inside, x_at, w1_at + next * kBytesW1, hidden + (odd ^ 1) * kBytesH);
#pragma unroll 1
      for (int g = wk; g < kGroups; g += WK) {
        Taps taps;
        taps.load(weights + mine * kSecond + kBytesW2 + g * 2 * Taps::kBytes);
        float bias[2][4];
        vt_column_bias(a.in4, e0 + g * 16, Cfg::E, bias);
        u32 fa[MT][4];
#pragma unroll
        for (int i = 0; i < MT; ++i) {
          float sum[2][4];
          taps.run(sum, bias, base[i] + odd * kBytesH + g * 32);
#pragma unroll
          for (int f = 0; f < 4; ++f) fa[i][f] = vt_pack<T>(Cfg::second(sum[f / 2][f % 2 * 2], gelu), Cfg::second(sum[f / 2][f % 2 * 2 + 1], gelu));
        }
        const u32 w2 = w2_at + mine * kSecond + (g * 16 + lane % 16) * kRowO + lane / 16 * 16;
#pragma unroll
        for (int j = 0; j < OP / 16; ++j) {
          u32 fb[4];
          vt_ldmatrix4_transposed(fb, w2 + j * 32);
#pragma unroll
          for (int i = 0; i < MT; ++i) {
            vt_mma<T>(out[i][2 * j], fa[i], fb[0], fb[1]);
            vt_mma<T>(out[i][2 * j + 1], fa[i], fb[2], fb[3]);
          }
        }
      }
    }
    // The warps' shares of the channels, added in order.
    float* tile = reinterpret_cast<float*>(memory);
#pragma unroll
    for (int w = 0; w < WK; ++w) {
      __syncthreads();
      if (wk != w) continue;
#pragma unroll
      for (int i = 0; i < MT; ++i)
#pragma unroll
        for (int j = 0; j < OP / 8; ++j)
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            float2* to = reinterpret_cast<float2*>(tile + ((wm * MT + i) * 16 + half * 8 + lane / 4) * kPitch + j * 8 + lane % 4 * 2);
            float2 v = make_float2(out[i][j][half * 2], out[i][j][half * 2 + 1]);
            if (w > 0) v.x += to->x, v.y += to->y;
            *to = v;
          }
    }
    __syncthreads();
    finish(a, tile, image, oy, ox);
  }
};
