// SPDX-License-Identifier: Apache-2.0
// Pixels times a matrix of each image and the positional branch beside it, in one pass on tensor cores: a block
// makes TY x TX pixels from theirs and two more on each side. Result channels go by in chunks of EC: v = x Wv for all
// pixels of the block, its window and activation for those one pixel around the result, then the second window and
// x M in one accumulator. v and what follows it are rounded to 16 bits, everything else is float32.
//
// Cfg: T; C, E channels; EP row length of the packed Wv; TY, TX; WARPS; VX, VM elements of one access to x, M;
// activate(x, gelu) (gelu: vt_gelu_first()); H(a), W(a); pixel(a, image, y, x); matrix(a, image, k).
template <class Cfg> struct Positional {
  typedef typename Cfg::T T;
  static constexpr int EC = 32, kGroups = EC / 16, kWarps = Cfg::WARPS, kThreads = 32 * kWarps, kStep = kWarps / kGroups;
  static constexpr int TP = Cfg::TY * Cfg::TX, X1 = Cfg::TX + 2, X2 = Cfg::TX + 4, P1 = (Cfg::TY + 2) * X1, P2 = (Cfg::TY + 4) * X2;
  static constexpr int HP1 = (P1 + 15) / 16 * 16, HP2 = (P2 + 15) / 16 * 16, CP = (Cfg::C + 15) / 16 * 16;
  static constexpr int kChunks = (Cfg::E + EC - 1) / EC, kBuffers = kChunks > 1 ? 2 : 1;
  static constexpr int kRowX = (CP + 8) * 2, kRowE = (EC + 8) * 2, kPitch = EC + 4;
  typedef Window<T, 3, 3, X2, kRowE> First;
  typedef Window<T, 3, 3, X1, kRowE> Second;
  static constexpr int kBytesX = HP2 * kRowX, kTile = TP * kPitch * 4, kBytesV = HP2 * kRowE > kTile ? HP2 * kRowE : kTile, kBytesM = HP1 * kRowE;
  static constexpr int kMatrix = CP * kRowE, kTaps = EC / 8 * First::kBytes, kWeights = 2 * kMatrix + 2 * kTaps;
  static constexpr int kMine1 = (HP1 / 16 + kStep - 1) / kStep;
  static_assert(kWarps % kGroups == 0 && TP % 16 == 0 && kMine1 <= 16 && kBytesX + kBytesV + kBytesM + kBuffers * kWeights == Cfg::SHARED, "");

  // Wv, M, the windows' weights, one after the other.
  static __device__ __forceinline__ void load_constants(const Args& a, int e0, u32 to) {
#pragma unroll
    for (int first = 0; first < CP * (EC / 8); first += kThreads) {
      const int i = first + threadIdx.x;
      if (CP * (EC / 8) % kThreads != 0 && i >= CP * (EC / 8)) break;
      const int k = i / (EC / 8), n = i % (EC / 8) * 8;
      const bool inside = k < Cfg::C && e0 + n < Cfg::EP;
      vt_copy16(to + k * kRowE + n * 2, a.in1 + (inside ? k * Cfg::EP + e0 + n : 0), inside ? 16 : 0);
    }
    for (int i = threadIdx.x; i < 2 * kTaps / 16; i += kThreads) {
      const int at = i * 16 % kTaps;
      const char* taps = reinterpret_cast<const char*>(i * 16 < kTaps ? a.in2 : a.in4) + e0 / 8 * First::kBytes;
      const bool inside = e0 + at / First::kBytes * 8 < Cfg::EP;
      vt_copy16(to + 2 * kMatrix + i * 16, inside ? taps + at : taps, inside ? 16 : 0);
    }
  }
  static __device__ __forceinline__ void load_matrix(const Args& a, int image, int e0, u32 to) {
    for (int i = threadIdx.x; i < CP * (EC / Cfg::VM); i += kThreads) {
      const int k = i / (EC / Cfg::VM), n = i % (EC / Cfg::VM) * Cfg::VM, rest = Cfg::E - e0 - n;
      const int count = k < Cfg::C && rest > 0 ? (rest < Cfg::VM ? rest : Cfg::VM) : 0;
      copy<Cfg::VM>(to + k * kRowE + n * 2, count ? Cfg::matrix(a, image, k) + e0 + n : a.in6, count);
    }
  }
  static __device__ __forceinline__ void load_pixels(const Args& a, int image, int top, int left, u32 to) {
    constexpr int kCols = CP / Cfg::VX;
    for (int i = threadIdx.x; i < HP2 * kCols; i += kThreads) {
      const int p = i / kCols, c = i % kCols * Cfg::VX, y = top + p / X2, x = left + p % X2, rest = Cfg::C - c;
      const bool inside = p < P2 && (unsigned)y < (unsigned)Cfg::H(a) && (unsigned)x < (unsigned)Cfg::W(a);
      const int count = inside && rest > 0 ? (rest < Cfg::VX ? rest : Cfg::VX) : 0;
      copy<Cfg::VX>(to + p * kRowX + c * 2, count ? Cfg::pixel(a, image, y, x) + c : a.in0, count);
    }
  }
  template <int V> static __device__ __forceinline__ void copy(u32 to, const T* from, int count) {
    if constexpr (V >= 2) {
      vt_copy<V * 2>(to, from, count * 2);
    } else {
      const u16 bits = count ? *reinterpret_cast<const u16*>(from) : (u16)0;
      asm volatile("st.shared.b16 [%0], %1;" ::"r"(to), "h"(bits) : "memory");
    }
  }

  // The tail, on the block's results in shared memory.
  static __device__ __forceinline__ void finish(const Args& a, const float* tile, int image, int oy, int ox, int e0) {
    constexpr int V = Tail::V, kCols = EC / V;
#pragma unroll 2
    for (int i = threadIdx.x; i < TP * kCols; i += kThreads) {
      const int p = i / kCols, c = i % kCols * V, y = oy + p / Cfg::TX, x = ox + p % Cfg::TX;
      if (y >= Cfg::H(a) || x >= Cfg::W(a) || e0 + c >= Cfg::E) continue;
      float r[V];
      vt_load<V>(tile + p * kPitch + c, r);
      vt_finish<Tail>(a, (image * Cfg::H(a) + y) * Cfg::W(a) + x, e0 + c, Cfg::E, r);
    }
  }

  static __device__ __forceinline__ void run(const Args& a) {
    extern __shared__ __align__(128) char memory[];
    char *const v = memory + kBytesX, *const weights = v + kBytesV + kBytesM;
    const u32 x_at = vt_shared(memory), v_at = x_at + kBytesX, m_at = v_at + kBytesV, w_at = m_at + kBytesM;
    vt_trigger();
    const int across = (Cfg::W(a) + Cfg::TX - 1) / Cfg::TX, down = (Cfg::H(a) + Cfg::TY - 1) / Cfg::TY;
    const int ox = (int)blockIdx.x % across * Cfg::TX, oy = (int)blockIdx.x / across % down * Cfg::TY, image = (int)blockIdx.x / (across * down);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n0 = warp % kGroups * 16, first = warp / kGroups;
    load_constants(a, 0, w_at);
    vt_wait();
    load_matrix(a, image, 0, w_at + kMatrix);
    load_pixels(a, image, oy - 2, ox - 2, x_at);
    vt_commit();
    // Which pixels around the result this lane makes lie in the image: a bit each.
    u32 inside = 0;
#pragma unroll
    for (int i = 0; i < kMine1; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int p = (first + i * kStep) * 16 + half * 8 + lane / 4, y = oy - 1 + p / X1, x = ox - 1 + p % X1;
        inside |= (u32)((unsigned)y < (unsigned)Cfg::H(a) && (unsigned)x < (unsigned)Cfg::W(a)) << (2 * i + half);
      }
    const float gelu = vt_gelu_first();
#pragma unroll 1
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      const int e0 = chunk * EC, mine = chunk % 2 * kWeights;
      vt_wait_copies<0>();
      __syncthreads();
      if (chunk + 1 < kChunks) {
        const u32 next = w_at + (chunk + 1) % 2 * kWeights;
        load_constants(a, e0 + EC, next);
        load_matrix(a, image, e0 + EC, next + kMatrix);
        vt_commit();
      }
      product(x_at, w_at + mine, v_at, first, n0);
      __syncthreads();
      {
        First taps;
        taps.load(weights + mine + 2 * kMatrix + n0 / 8 * First::kBytes);
        float bias[2][4];
        vt_column_bias(a.in3, e0 + n0, Cfg::E, bias);
        u32 bits = inside;
        const u32 to = m_at + (first * 16 + lane / 4) * kRowE + (n0 + lane % 4 * 2) * 2;
#pragma unroll 1
        for (int tile = first; tile < HP1 / 16; tile += 2 * kStep, bits >>= 4) {
          if (tile + kStep < HP1 / 16)
            middle_tiles<2>(taps, bias, gelu, bits, v_at + n0 * 2, tile, to + (tile - first) * 16 * kRowE);
          else
            middle_tiles<1>(taps, bias, gelu, bits, v_at + n0 * 2, tile, to + (tile - first) * 16 * kRowE);
        }
      }
      __syncthreads();
      {
        Second taps;
        taps.load(weights + mine + 2 * kMatrix + kTaps + n0 / 8 * Second::kBytes);
        float bias[2][4];
        vt_column_bias(a.in5, e0 + n0, Cfg::E, bias);
        const u32 matrix = w_at + mine + kMatrix + lane % 16 * kRowE + (n0 + lane / 16 * 8) * 2;
        // v is read no more: the result takes its place.
        float* to = reinterpret_cast<float*>(v) + (first * 16 + lane / 4) * kPitch + n0 + lane % 4 * 2;
#pragma unroll 1
        for (int tile = first; tile < TP / 16; tile += 2 * kStep) {
          if (tile + kStep < TP / 16)
            result_tiles<2>(taps, bias, m_at + n0 * 2, x_at, matrix, tile, to + (tile - first) * 16 * kPitch);
          else
            result_tiles<1>(taps, bias, m_at + n0 * 2, x_at, matrix, tile, to + (tile - first) * 16 * kPitch);
        }
      }
      __syncthreads();
      finish(a, reinterpret_cast<const float*>(v), image, oy, ox, e0);
    }
  }

  // N tiles at a time, so that one's products run while another's are stored or activated.
  template <int N> static __device__ __forceinline__ void middle_tiles(const First& taps, const float (&bias)[2][4], float gelu, u32 inside, u32 from, int tile, u32 to) {
    float sum[N][2][4];
#pragma unroll
    for (int u = 0; u < N; ++u) {
      const int p = (tile + u * kStep) * 16 + threadIdx.x % 16;
      taps.run(sum[u], bias, from + (p / X1 * X2 + p % X1) * kRowE);
    }
#pragma unroll
    for (int u = 0; u < N; ++u)
#pragma unroll
      for (int f = 0; f < 4; ++f) {
        const u32 real = 0u - (inside >> (2 * u + f / 2) & 1u);
        store(to + (u * kStep * 16 + f / 2 * 8) * kRowE + f % 2 * 16,
              vt_pack<T>(Cfg::activate(sum[u][f % 2][f / 2 * 2], gelu), Cfg::activate(sum[u][f % 2][f / 2 * 2 + 1], gelu)) & real);
      }
  }
  template <int N> static __device__ __forceinline__ void result_tiles(const Second& taps, const float (&bias)[2][4], u32 from, u32 x_at, u32 matrix, int tile, float* to) {
    float sum[N][2][4];
    u32 x[N];
#pragma unroll
    for (int u = 0; u < N; ++u) {
      const int p = (tile + u * kStep) * 16 + threadIdx.x % 16, y = p / Cfg::TX, z = p % Cfg::TX;
      taps.run(sum[u], bias, from + (y * X1 + z) * kRowE);
      x[u] = x_at + ((y + 2) * X2 + z + 2) * kRowX + threadIdx.x % 32 / 16 * 16;
    }
#pragma unroll
    for (int k = 0; k < CP / 16; ++k) {
      u32 fb[4];
      vt_ldmatrix4_transposed(fb, matrix + k * 16 * kRowE);
#pragma unroll
      for (int u = 0; u < N; ++u) {
        u32 fa[4];
        vt_ldmatrix4(fa, x[u] + k * 32);
        vt_mma<T>(sum[u][0], fa, fb[0], fb[1]);
        vt_mma<T>(sum[u][1], fa, fb[2], fb[3]);
      }
    }
#pragma unroll
    for (int u = 0; u < N; ++u)
#pragma unroll
      for (int f = 0; f < 4; ++f)
        *reinterpret_cast<float2*>(to + (u * kStep * 16 + f / 2 * 8) * kPitch + f % 2 * 8) = make_float2(sum[u][f % 2][f / 2 * 2], sum[u][f % 2][f / 2 * 2 + 1]);
  }
  static __device__ __forceinline__ void store(u32 to, u32 bits) { asm volatile("st.shared.b32 [%0], %1;" ::"r"(to), "r"(bits) : "memory"); }

  // v of every pixel: zero outside the image, as x is.
  static __device__ __forceinline__ void product(u32 x_at, u32 w, u32 v, int first, int n0) {
    const int lane = threadIdx.x % 32;
    const u32 weight = w + lane % 16 * kRowE + (n0 + lane / 16 * 8) * 2, from = x_at + lane % 16 * kRowX + lane / 16 * 16,
              to = v + lane / 4 * kRowE + (n0 + lane % 4 * 2) * 2;
#pragma unroll 1
    for (int tile = first; tile < HP2 / 16; tile += 2 * kStep) {
      if (tile + kStep < HP2 / 16) product_tiles<2>(from + tile * 16 * kRowX, weight, to + tile * 16 * kRowE);
      else product_tiles<1>(from + tile * 16 * kRowX, weight, to + tile * 16 * kRowE);
    }
  }
  template <int N> static __device__ __forceinline__ void product_tiles(u32 from, u32 weight, u32 to) {
    float acc[N][2][4];
#pragma unroll
    for (int u = 0; u < N; ++u)
#pragma unroll
      for (int e = 0; e < 8; ++e) acc[u][e / 4][e % 4] = 0;
#pragma unroll
    for (int k = 0; k < CP / 16; ++k) {
      u32 fb[4];
      vt_ldmatrix4_transposed(fb, weight + k * 16 * kRowE);
#pragma unroll
      for (int u = 0; u < N; ++u) {
        u32 fa[4];
        vt_ldmatrix4(fa, from + u * kStep * 16 * kRowX + k * 32);
        vt_mma<T>(acc[u][0], fa, fb[0], fb[1]);
        vt_mma<T>(acc[u][1], fa, fb[2], fb[3]);
      }
    }
#pragma unroll
    for (int u = 0; u < N; ++u)
#pragma unroll
      for (int f = 0; f < 4; ++f)
        store(to + (u * kStep * 16 + f / 2 * 8) * kRowE + f % 2 * 16, vt_pack<T>(acc[u][f % 2][f / 2 * 2], acc[u][f % 2][f / 2 * 2 + 1]));
  }
};
