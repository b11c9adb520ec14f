// SPDX-License-Identifier: Apache-2.0
// G = X^T X: each block takes a part of the tokens, each warp 16 channels by all and a share of the block's
// tokens. Tensor cores cut sums off instead of rounding them, so after every TILE tokens a warp's sum goes to
// float32 registers; parts are added in float64 in order by a second launch.
//
// Cfg: T; C, CP channels, rounded up to 16; WM = CP / 16, WK warps along channels and tokens; VX elements of
// one copy; at(a, batch, token).
template <class Cfg> struct Gram {
  typedef typename Cfg::T T;
  static constexpr int CP = Cfg::CP, WM = CP / 16, WK = Cfg::WK, kThreads = 32 * WM * WK, kTokens = 16 * WK * 2, kStages = 4;
  static constexpr int kRow = (CP + 8) * 2, kStage = kTokens * kRow, kFlush = 128 / kTokens > 0 ? 128 / kTokens : 1;

  static __device__ __forceinline__ void load(const Args& a, int batch, int first, int end, u32 to) {
    constexpr int kCols = CP / Cfg::VX;
    for (int i = threadIdx.x; i < kTokens * kCols; i += kThreads) {
      const int t = i / kCols, c = i % kCols * Cfg::VX;
      const int count = first + t < end && c < Cfg::C ? (Cfg::C - c < Cfg::VX ? Cfg::C - c : Cfg::VX) : 0;
      vt_copy<Cfg::VX * 2>(to + t * kRow + c * 2, count ? Cfg::at(a, batch, first + t) + c : a.in0, count * 2);
    }
  }

  static __device__ __forceinline__ void run(const Args& a, int tokens, int part_tokens, int parts) {
    extern __shared__ __align__(128) char memory[];
    const u32 shared = vt_shared(memory);
    vt_trigger();
    const int part = (int)blockIdx.x % parts, batch = (int)blockIdx.x / parts;
    const int begin = part * part_tokens, end = begin + part_tokens < tokens ? begin + part_tokens : tokens;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, wm = warp % WM, wk = warp / WM;
    const int steps = (end - begin + kTokens - 1) / kTokens;
    vt_wait();
#pragma unroll
    for (int s = 0; s < kStages - 1; ++s) {
      if (s < steps) load(a, batch, begin + s * kTokens, end, shared + s * kStage);
      vt_commit();
    }
    float total[CP / 8][4], acc[CP / 8][4];
#pragma unroll
    for (int j = 0; j < CP / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) total[j][e] = acc[j][e] = 0;
    for (int step = 0; step < steps; ++step) {
      vt_wait_copies<kStages - 2>();
      __syncthreads();
      if (step + kStages - 1 < steps) load(a, batch, begin + (step + kStages - 1) * kTokens, end, shared + (step + kStages - 1) % kStages * kStage);
      vt_commit();
      const u32 at = shared + step % kStages * kStage;
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        const int t0 = (wk * 2 + k) * 16;
        u32 fa[4];
        vt_ldmatrix4_transposed(fa, at + (t0 + lane / 16 * 8 + lane % 8) * kRow + (wm * 16 + lane / 8 % 2 * 8) * 2);
#pragma unroll
        for (int j = 0; j < CP / 16; ++j) {
          u32 fb[4];
          vt_ldmatrix4_transposed(fb, at + (t0 + lane % 16) * kRow + (j * 16 + lane / 16 * 8) * 2);
          vt_mma<T>(acc[2 * j], fa, fb[0], fb[1]);
          vt_mma<T>(acc[2 * j + 1], fa, fb[2], fb[3]);
        }
      }
      if (step % kFlush == kFlush - 1 || step + 1 == steps) {
#pragma unroll
        for (int j = 0; j < CP / 8; ++j)
#pragma unroll
          for (int e = 0; e < 4; ++e) total[j][e] += acc[j][e], acc[j][e] = 0;
      }
    }
    vt_wait_copies<0>();
    // The warps' shares, added in order.
    float* sums = reinterpret_cast<float*>(memory);
    constexpr int kPitch = CP + 4;
#pragma unroll
    for (int w = 0; w < WK; ++w) {
      __syncthreads();
      if (wk != w) continue;
#pragma unroll
      for (int j = 0; j < CP / 8; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float2* to = reinterpret_cast<float2*>(sums + (wm * 16 + half * 8 + lane / 4) * kPitch + j * 8 + lane % 4 * 2);
          float2 v = make_float2(total[j][half * 2], total[j][half * 2 + 1]);
          if (w > 0) v.x += to->x, v.y += to->y;
          *to = v;
        }
    }
    __syncthreads();
    float* out = reinterpret_cast<float*>(a.workspace) + (long long)blockIdx.x * (CP * CP);
    for (int i = threadIdx.x * 4; i < CP * CP; i += kThreads * 4)
      *reinterpret_cast<float4*>(out + i) = *reinterpret_cast<const float4*>(sums + i / CP * kPitch + i % CP);
  }

  // 32 elements a block, eight warps that add an eighth of the parts each.
  static __device__ __forceinline__ void add(const Args& a, int parts) {
    __shared__ double shares[8][32];
    vt_trigger();
    constexpr int kBlocks = (CP * CP + 31) / 32;
    const int batch = (int)blockIdx.x / kBlocks, element = (int)blockIdx.x % kBlocks * 32 + threadIdx.x % 32, warp = threadIdx.x / 32;
    const int i = element / CP, j = element % CP;
    vt_wait();
    double sum = 0;
    if (i < Cfg::C && j < Cfg::C) {
      // Of the two elements that are equal, one is read for both.
      const int from = i < j ? i * CP + j : j * CP + i;
      const float* in = reinterpret_cast<const float*>(a.workspace) + (long long)batch * parts * (CP * CP) + from;
      const int first = warp * parts / 8, last = (warp + 1) * parts / 8;
      for (int p = first; p < last; ++p) sum += (double)in[(long long)p * (CP * CP)];
    }
    shares[warp][threadIdx.x % 32] = sum;
    __syncthreads();
    if (warp != 0 || i >= Cfg::C || j >= Cfg::C) return;
    for (int w = 1; w < 8; ++w) sum += shares[w][threadIdx.x];
    Cfg::store(a, (batch * Cfg::C + i) * Cfg::C + j, (float)sum);
  }
};
