// SPDX-License-Identifier: Apache-2.0
// Expansion, depthwise window and projection in one pass: a block makes TY x TX pixels. Their pixels with
// the window's border are read once, normalized if asked, and kept; the hidden channels go by in chunks of
// EC, each expanded on tensor cores, activated, run through the window and multiplied into the result's
// accumulators. Products of 16-bit operands, everything else in float32.
//
// Cfg: T; C, E, O channels; EP, OP row lengths of the packed weights; TY, TX, S, KH, KW; WN warps that share 16 pixels' results; PT, PL pads;
// NORM; VX elements of one access to x; first(x), second(x) activations; H(a), W(a), OH(a), OW(a);
// pixel(a, image, y, x).
template <class Cfg> struct Inverted {
  typedef typename Cfg::T T;
  static constexpr int TP = Cfg::TY * Cfg::TX, kRowWarps = TP / 16, kWarps = kRowWarps * Cfg::WN, kThreads = 32 * kWarps, EC = 32;
  // Of the window, pixels of a row that one thread makes; of the result, 16-column groups of a warp.
  static constexpr int kStrip = 4 / Cfg::WN, kGroups = ((Cfg::O + 15) / 16 + Cfg::WN - 1) / Cfg::WN;
  static constexpr int HY = (Cfg::TY - 1) * Cfg::S + Cfg::KH, HX = (Cfg::TX - 1) * Cfg::S + Cfg::KW, HP = (HY * HX + 15) / 16 * 16;
  static constexpr int CP = (Cfg::C + 15) / 16 * 16, OP = (Cfg::O + 15) / 16 * 16, kChunks = (Cfg::E + EC - 1) / EC;
  // An odd number of 16-byte chunks a row: eight rows of one chunk lie in eight groups of banks.
  static constexpr int kRowX = (CP + 8) * 2, kRowE = (EC + 8) * 2, kRowO = (OP + 8) * 2;
  static constexpr int kBytesX = HP * kRowX, kBytesH = HP * kRowE, kBytesM = TP * kRowE, kBytesW1 = CP * kRowE, kBytesW2 = EC * kRowO;
  static constexpr int kPitch = OP + 4;

  static __device__ __forceinline__ void load_weights(const Args& a, int e0, u32 to) {
    for (int i = threadIdx.x; i < CP * (EC / 8); i += kThreads) {
      const int k = i / (EC / 8), n = i % (EC / 8) * 8;
      const bool inside = k < Cfg::C && e0 + n < Cfg::EP;
      vt_copy16(to + k * kRowE + n * 2, a.in1 + (inside ? k * Cfg::EP + e0 + n : 0), inside ? 16 : 0);
    }
    for (int i = threadIdx.x; i < EC * (OP / 8); i += kThreads) {
      const int k = i / (OP / 8), n = i % (OP / 8) * 8;
      const bool inside = e0 + k < Cfg::E;
      vt_copy16(to + kBytesW1 + k * kRowO + n * 2, a.in5 + (inside ? (e0 + k) * OP + n : 0), inside ? 16 : 0);
    }
  }

  // Rows of x with the border to shared memory: L lanes a pixel, 8 channels a lane.
  static __device__ __forceinline__ void load_pixels(const Args& a, int image, int top, int left, char* to) {
    constexpr int L = CP <= 16 ? 2 : CP <= 32 ? 4 : CP <= 64 ? 8 : 16;
    static_assert(CP <= 128, "");
    const int lane = threadIdx.x % L;
    for (int p = threadIdx.x / L; p < HP; p += kThreads / L) {
      const int y = top + p / HX, x = left + p % HX, col = lane * 8;
      const bool inside = p < HY * HX && (unsigned)y < (unsigned)Cfg::H(a) && (unsigned)x < (unsigned)Cfg::W(a);
      float v[8];
      vt_fill<8>(0.0f, v);
      if (inside && col < Cfg::C) {
        const T* from = Cfg::pixel(a, image, y, x) + col;
        if (Cfg::VX == 8 && col + 8 <= Cfg::C)
          vt_load<8>(from, v);
        else
#pragma unroll
          for (int e = 0; e < 8; ++e) v[e] = col + e < Cfg::C ? vt_float(from[e]) : 0.0f;
      }
      if (Cfg::NORM) {
        float sum = 0;
#pragma unroll
        for (int e = 0; e < 8; ++e) sum += v[e];
#pragma unroll
        for (int i = L / 2; i > 0; i /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, i);
        const float mean = sum * (1.0f / Cfg::C);
        float square = 0;
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          v[e] = col + e < Cfg::C ? v[e] - mean : 0.0f;
          square += v[e] * v[e];
        }
#pragma unroll
        for (int i = L / 2; i > 0; i /= 2) square += __shfl_xor_sync(0xffffffffu, square, i);
        const float inverse = 1.0f / sqrtf(square * (1.0f / Cfg::C) + Cfg::eps());
#pragma unroll
        for (int e = 0; e < 8; ++e) v[e] *= inverse;
      }
      if (col < CP) {
        vt_store<8>(reinterpret_cast<T*>(to + p * kRowX + col * 2), v);
      }
    }
  }

  static __device__ __forceinline__ void run(const Args& a) {
    extern __shared__ __align__(128) char memory[];
    char* const hidden = memory + kBytesX;
    char* const middle = hidden + kBytesH;
    const u32 x_at = vt_shared(memory), h_at = x_at + kBytesX, m_at = h_at + kBytesH, w_at = m_at + kBytesM;
    constexpr int kWeights = kBytesW1 + kBytesW2;
    vt_trigger();
    const int across = (Cfg::OW(a) + Cfg::TX - 1) / Cfg::TX, down = (Cfg::OH(a) + Cfg::TY - 1) / Cfg::TY;
    const int ox = (int)blockIdx.x % across * Cfg::TX, oy = (int)blockIdx.x / across % down * Cfg::TY, image = (int)blockIdx.x / (across * down);
    const int top = oy * Cfg::S - Cfg::PT, left = ox * Cfg::S - Cfg::PL;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    load_weights(a, 0, w_at);
    vt_commit();
    vt_wait();
    load_pixels(a, image, top, left, memory);

    const int wm = warp % kRowWarps, wn = warp / kRowWarps;
    float out[kGroups * 2][4];
#pragma unroll
    for (int j = 0; j < kGroups * 2; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) out[j][e] = 0;
#pragma unroll 1
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      const int e0 = chunk * EC;
      const u32 w1 = w_at + chunk % 2 * kWeights, w2 = w1 + kBytesW1;
      vt_wait_copies<0>();
      __syncthreads();
      if (chunk + 1 < kChunks) load_weights(a, e0 + EC, w_at + (chunk + 1) % 2 * kWeights);
      vt_commit();
      // Hidden channels e0.. of every pixel, zero outside the image.
      constexpr int kItems = HP / 16 * 2;
#pragma unroll 1
      for (int item = warp; item < kItems; item += kWarps) {
        const int m0 = item / 2 * 16, n0 = item % 2 * 16;
        float acc[2][4];
#pragma unroll
        for (int j = 0; j < 2; ++j)
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            const int col = e0 + n0 + j * 8 + lane % 4 * 2 + e;
            acc[j][e] = acc[j][e + 2] = col < Cfg::E ? vt_float(a.in2[col]) : 0.0f;
          }
#pragma unroll
        for (int k = 0; k < CP; k += 16) {
          u32 fa[4], fb[4];
          vt_ldmatrix4(fa, x_at + (m0 + lane % 16) * kRowX + (k + lane / 16 * 8) * 2);
          vt_ldmatrix4_transposed(fb, w1 + (k + lane % 16) * kRowE + (n0 + lane / 16 * 8) * 2);
          vt_mma<T>(acc[0], fa, fb[0], fb[1]);
          vt_mma<T>(acc[1], fa, fb[2], fb[3]);
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int p = m0 + half * 8 + lane / 4, y = top + p / HX, x = left + p % HX;
          const bool inside = (unsigned)y < (unsigned)Cfg::H(a) && (unsigned)x < (unsigned)Cfg::W(a);
#pragma unroll
          for (int j = 0; j < 2; ++j)
            *reinterpret_cast<u32*>(hidden + p * kRowE + (n0 + j * 8 + lane % 4 * 2) * 2) =
                inside ? vt_pack<T>(Cfg::first(acc[j][half * 2]), Cfg::first(acc[j][half * 2 + 1])) : 0u;
        }
      }
      // The window: a strip of pixels by four channels a thread.
      const int group = threadIdx.x % (EC / 4) * 4, strip = threadIdx.x / (EC / 4), sy = strip / (Cfg::TX / kStrip), sx = strip % (Cfg::TX / kStrip) * kStrip;
      float weight[Cfg::KH * Cfg::KW][4], sum[kStrip][4];
      const bool real = e0 + group < Cfg::EP;
#pragma unroll
      for (int t = 0; t < Cfg::KH * Cfg::KW; ++t) {
        vt_fill<4>(0.0f, weight[t]);
        if (real) vt_load<4>(a.in3 + t * Cfg::EP + e0 + group, weight[t]);
      }
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float bias = e0 + group + e < Cfg::E ? vt_float(a.in4[e0 + group + e]) : 0.0f;
#pragma unroll
        for (int q = 0; q < kStrip; ++q) sum[q][e] = bias;
      }
      __syncthreads();
#pragma unroll
      for (int r = 0; r < Cfg::KH; ++r)
#pragma unroll
        for (int c = 0; c < (kStrip - 1) * Cfg::S + Cfg::KW; ++c) {
          float v[4];
          vt_load<4>(reinterpret_cast<const T*>(hidden + ((sy * Cfg::S + r) * HX + sx * Cfg::S + c) * kRowE + group * 2), v);
#pragma unroll
          for (int q = 0; q < kStrip; ++q) {
            if (c < q * Cfg::S || c - q * Cfg::S >= Cfg::KW) continue;
#pragma unroll
            for (int e = 0; e < 4; ++e) sum[q][e] += v[e] * weight[r * Cfg::KW + c - q * Cfg::S][e];
          }
        }
#pragma unroll
      for (int q = 0; q < kStrip; ++q) {
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[q][e] = Cfg::second(sum[q][e]);
        vt_store<4>(reinterpret_cast<T*>(middle + (sy * Cfg::TX + sx + q) * kRowE + group * 2), sum[q]);
      }
      __syncthreads();
#pragma unroll
      for (int k = 0; k < EC; k += 16) {
        u32 fa[4];
        vt_ldmatrix4(fa, m_at + (wm * 16 + lane % 16) * kRowE + (k + lane / 16 * 8) * 2);
#pragma unroll
        for (int j = 0; j < kGroups; ++j) {
          if ((kGroups * Cfg::WN != OP / 16) && wn * kGroups + j >= OP / 16) break;
          u32 fb[4];
          vt_ldmatrix4_transposed(fb, w2 + (k + lane % 16) * kRowO + ((wn * kGroups + j) * 16 + lane / 16 * 8) * 2);
          vt_mma<T>(out[2 * j], fa, fb[0], fb[1]);
          vt_mma<T>(out[2 * j + 1], fa, fb[2], fb[3]);
        }
      }
    }
    __syncthreads();
    float* tile = reinterpret_cast<float*>(memory);
#pragma unroll
    for (int j = 0; j < kGroups * 2; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        if (kGroups * Cfg::WN == OP / 16 || wn * kGroups * 2 + j < OP / 8)
        *reinterpret_cast<float2*>(tile + (wm * 16 + half * 8 + lane / 4) * kPitch + (wn * kGroups * 2 + j) * 8 + lane % 4 * 2) = make_float2(out[j][half * 2], out[j][half * 2 + 1]);
    __syncthreads();
    constexpr int V = Tail::V, kCols = (Cfg::O + V - 1) / V;
    for (int i = threadIdx.x; i < TP * kCols; i += kThreads) {
      const int p = i / kCols, c = i % kCols * V, y = oy + p / Cfg::TX, x = ox + p % Cfg::TX;
      if (y >= Cfg::OH(a) || x >= Cfg::OW(a)) continue;
      float v[V];
      vt_load<V>(tile + p * kPitch + c, v);
      vt_finish<Tail>(a, (image * Cfg::OH(a) + y) * Cfg::OW(a) + x, c, Cfg::O, v);
    }
  }
};
