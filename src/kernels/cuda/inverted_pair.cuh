// SPDX-License-Identifier: Apache-2.0
// Inverted in a second form, for windows of 3 x 3 at stride 1. What bounds a warp's windows is the bandwidth of shared
// memory, what bounds its expansion are instructions, so this form reads and issues less:
// - A warp's two tiles of 16 pixels lie one below the other, and the rows that both windows cover are read once.
// - Biases are in shared memory.
// - Hidden pixels outside the image are overwritten with zeros where a block has any, instead of masked everywhere.
// - ALTERNATE: half of the warps take their windows before their part of the expansion, so that both kinds of work are
//   under way at any time.
template <class Cfg> struct InvertedPair {
  typedef Inverted<Cfg> Base;
  typedef typename Cfg::T T;
  static constexpr int MT = Cfg::MT, WK = Cfg::WK, EC = Cfg::EC, CP = Base::CP, OP = Base::OP, HX = Base::HX, HY = Base::HY;
  static constexpr int kGroups = Base::kGroups, kStep = Base::kStep, kTiles = Base::kTiles, kMine = Base::kMine, kChunks = Base::kChunks, kPitch = Base::kPitch;
  static constexpr int kRowX = Base::kRowX, kRowE = Base::kRowE, kRowO = Base::kRowO, kThreads = Base::kThreads, kBuffers = Base::kBuffers;
  static constexpr bool kStream = Base::kStream;
  static constexpr int kBias = kChunks * EC, kBytesBefore = Base::kBytesX + 2 * Base::kBytesH + kBuffers * (Base::kBytesW1 + Base::kSecond);
  static constexpr int kAcross = Cfg::TX / 16;  // pairs of tiles beside each other
  static_assert(Cfg::S == 1 && Cfg::KH == 3 && Cfg::KW == 3 && (MT == 1 || (MT == 2 && Cfg::TX % 16 == 0)), "");
  static_assert(kBytesBefore + 2 * kBias * 4 <= Cfg::SHARED && Base::TP * kPitch * 4 <= Cfg::SHARED, "");

  // Where the block's pixels begin. Its number is read anew each time: kept through the loops it would take registers.
  struct Place {
    int ox, oy, image;
    __device__ __forceinline__ explicit Place(const Args& a) {
      int block;
      asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(block));
      const int across = (Cfg::OW(a) + Cfg::TX - 1) / Cfg::TX, down = (Cfg::OH(a) + Cfg::TY - 1) / Cfg::TY;
      ox = block % across * Cfg::TX, oy = block / across % down * Cfg::TY, image = block / (across * down);
    }
  };
  static __device__ __forceinline__ void store(u32 to, u32 bits) { asm volatile("st.shared.b32 [%0], %1;" ::"r"(to), "r"(bits) : "memory"); }
  // `from`: the bias of this lane's first column.
  static __device__ __forceinline__ void load_bias(const float* from, float (&bias)[2][4]) {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const float2 pair = *reinterpret_cast<const float2*>(from + n * 8);
      bias[n][0] = bias[n][2] = pair.x, bias[n][1] = bias[n][3] = pair.y;
    }
  }
  // Pixel of the block that row `row` of the warp's tile i is.
  static __device__ __forceinline__ int pixel(int wm, int i, int row) {
    if (MT == 1) return wm * 16 + row;
    return (wm / kAcross * 2 + i) * Cfg::TX + wm % kAcross * 16 + row;
  }

  // Base::expand() without masks. `inside`: a bit for each pixel that this lane makes, all bits where the block has none outside the image.
  static __device__ __forceinline__ void expand(const float* biases, int inside, u32 x_at, u32 w1, u32 hidden) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n0 = warp % kGroups * 16;
    constexpr bool kKeep = CP <= 64;
    const float gelu = Cfg::gelu();
    float bias[2][4];
    load_bias(biases + n0 + lane % 4 * 2, bias);
    const u32 w = w1 + lane % 16 * kRowE + (n0 + lane / 16 * 8) * 2;
    u32 kept[kKeep ? CP / 16 : 1][4];
#pragma unroll
    for (int k = 0; kKeep && k < CP / 16; ++k) vt_ldmatrix4_transposed(kept[k], w + k * 16 * kRowE);
    u32 from = x_at + (warp / kGroups * 16 + lane % 16) * kRowX + lane / 16 * 16;
    u32 to = hidden + (warp / kGroups * 16 + lane / 4) * kRowE + (n0 + lane % 4 * 2) * 2;
    constexpr int kNext = 2 * kStep * 16;  // pixels from one pair to the next
#pragma unroll 1
    for (int tile = warp / kGroups; tile < kTiles; tile += 2 * kStep, inside >>= 4, from += kNext * kRowX, to += kNext * kRowE) {
      if (tile + kStep < kTiles) expand_tiles<2>(kept, bias, gelu, inside, from, w, to);
      else expand_tiles<1>(kept, bias, gelu, inside, from, w, to);
    }
  }
  template <int N, int K> static __device__ __forceinline__ void expand_tiles(const u32 (&kept)[K][4], const float (&bias)[2][4], float gelu, int inside, u32 from, u32 w, u32 to) {
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
#pragma unroll
    for (int u = 0; u < N; ++u)
#pragma unroll
      for (int f = 0; f < 4; ++f)
        store(to + (u * kStep * 16 + f / 2 * 8) * kRowE + f % 2 * 16,
              vt_pack<T>(Cfg::first(acc[u][f % 2][f / 2 * 2], gelu), Cfg::first(acc[u][f % 2][f / 2 * 2 + 1], gelu)));
    constexpr int kBits = (1 << 2 * N) - 1;
    if ((inside & kBits) == kBits) return;
#pragma unroll
    for (int u = 0; u < N; ++u)
#pragma unroll
      for (int f = 0; f < 4; ++f)
        if (!(inside >> (2 * u + f / 2) & 1)) store(to + (u * kStep * 16 + f / 2 * 8) * kRowE + f % 2 * 16, 0u);
  }

  // The windows, second activations and products of this warp's groups of 16 of the chunk's channels. `hidden`: shared
  // address of the first tap of pixel lane % 16; `second`: of the chunk's second weights, as `taps` behind it.
  static __device__ __forceinline__ void windows(float (&out)[MT][OP / 8][4], const float* biases, int wk, u32 hidden, u32 second, const char* taps_at) {
    const int lane = threadIdx.x % 32;
    const float gelu = Cfg::gelu();
#pragma unroll 1
    for (int g = wk; g < kGroups; g += WK) {
      float bias[2][4], sum[MT][2][4];
      load_bias(biases + g * 16 + lane % 4 * 2, bias);
      if constexpr (MT == 2) {
        WindowPair<T, HX, kRowE> taps;
        taps.load(taps_at + g * 2 * Base::Taps::kBytes);
        taps.run(sum, bias, hidden + g * 32);
      } else {
        typename Base::Taps taps;
        taps.load(taps_at + g * 2 * Base::Taps::kBytes);
        taps.run(sum[0], bias, hidden + g * 32);
      }
      u32 fa[MT][4];
#pragma unroll
      for (int i = 0; i < MT; ++i)
#pragma unroll
        for (int f = 0; f < 4; ++f) fa[i][f] = vt_pack<T>(Cfg::second(sum[i][f / 2][f % 2 * 2], gelu), Cfg::second(sum[i][f / 2][f % 2 * 2 + 1], gelu));
      const u32 w2 = second + (g * 16 + lane % 16) * kRowO + lane / 16 * 16;
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

  static __device__ __forceinline__ void run(const Args& a) {
    extern __shared__ __align__(128) char memory[];
    const u32 x_at = vt_shared(memory), h_at = x_at + Base::kBytesX, w1_at = h_at + 2 * Base::kBytesH, w2_at = w1_at + kBuffers * Base::kBytesW1;
    float* const biases = reinterpret_cast<float*>(memory + kBytesBefore);
    vt_trigger();
    const Place at(a);
    const int top = at.oy - Cfg::PT, left = at.ox - Cfg::PL, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    Base::load_first(a, 0, w1_at, threadIdx.x);
    vt_commit();
#pragma unroll
    for (int c = 1; c < (kStream ? 2 : kChunks); ++c) Base::load_first(a, c * EC, w1_at + c * Base::kBytesW1, threadIdx.x);
#pragma unroll
    for (int c = 0; c < (kStream ? 1 : kChunks); ++c) Base::load_second(a, c * EC, w2_at + c * Base::kSecond, threadIdx.x);
    vt_commit();
    for (int i = threadIdx.x; i < 2 * kBias; i += kThreads) {
      const int e = i % kBias;
      biases[i] = e < Cfg::E ? vt_float(i < kBias ? a.in2[e] : a.in4[e]) : 0.0f;
    }
    vt_wait();
    Base::load_pixels(a, at.image, top, left, memory);

    // Which of the pixels whose hidden channels this lane makes lie in the image.
    int inside = -1;
    if (top < 0 || left < 0 || top + HY > Cfg::H(a) || left + HX > Cfg::W(a)) {
      inside = 0;
#pragma unroll
      for (int i = 0; i < kMine; ++i)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int p = (warp / kGroups + i * kStep) * 16 + half * 8 + lane / 4, y = top + p / HX, x = left + p % HX;
          inside |= (int)((unsigned)y < (unsigned)Cfg::H(a) && (unsigned)x < (unsigned)Cfg::W(a)) << (2 * i + half);
        }
    }
    const int wm = warp % Base::kRowWarps, wk = warp / Base::kRowWarps, mine = pixel(wm, 0, lane % 16);
    const u32 taps_from = h_at + (mine / Cfg::TX * HX + mine % Cfg::TX) * kRowE;
    // Warps are dealt to the four schedulers in turn: each gets both kinds.
    const bool late = Cfg::ALTERNATE && warp / 4 % 2 != 0;
    float out[MT][OP / 8][4];
#pragma unroll
    for (int i = 0; i < MT; ++i)
#pragma unroll
      for (int j = 0; j < OP / 8; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) out[i][j][e] = 0;
    vt_wait_copies<1>();
    __syncthreads();
    expand(biases, inside, x_at, w1_at, h_at);
#pragma unroll 1
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      const int e0 = chunk * EC, odd = chunk % 2, kept = kStream ? odd : chunk, next = kStream ? odd ^ 1 : chunk + 1;
      if (kStream || chunk == 0) vt_wait_copies<0>();
      __syncthreads();
      if (kStream) {
        int thread;  // read anew, or what follows from it is kept through the loop
        asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
        if (chunk + 2 < kChunks) Base::load_first(a, e0 + 2 * EC, w1_at + odd * Base::kBytesW1, thread);
        if (chunk + 1 < kChunks) Base::load_second(a, e0 + EC, w2_at + (odd ^ 1) * Base::kSecond, thread);
        vt_commit();
      }
      const auto ahead = [&] {
        if (chunk + 1 < kChunks) expand(biases + e0 + EC, inside, x_at, w1_at + next * Base::kBytesW1, h_at + (odd ^ 1) * Base::kBytesH);
      };
      const auto present = [&] {
        windows(out, biases + kBias + e0, wk, taps_from + odd * Base::kBytesH, w2_at + kept * Base::kSecond, memory + (w2_at - x_at) + kept * Base::kSecond + Base::kBytesW2);
      };
      if (late) present();
      ahead();
      if (!late) present();
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
            float2* to = reinterpret_cast<float2*>(tile + pixel(wm, i, half * 8 + lane / 4) * kPitch + j * 8 + lane % 4 * 2);
            float2 v = make_float2(out[i][j][half * 2], out[i][j][half * 2 + 1]);
            if (w > 0) v.x += to->x, v.y += to->y;
            *to = v;
          }
    }
    __syncthreads();
    const Place end(a);
    vt_finish_tile<Tail, Cfg::TY, Cfg::TX, Cfg::O, kPitch, Cfg::O, kThreads>(a, tile, end.image, end.oy, end.ox, Cfg::OH(a), Cfg::OW(a), 0);
  }
};
