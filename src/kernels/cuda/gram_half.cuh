// SPDX-License-Identifier: Apache-2.0
// G = X^T X with each product once. A launch of as many blocks as multiprocessors takes a part of the tokens each,
// nearly all of it on the way at a time. Warps have 16 channels r and a share of the tokens; of the N x N tiles they
// make (r, (r + d) % N) for d up to N / 2, so that every warp does the same and no tile twice but N / 2 for even N.
// What ldmatrix gives for 16 channels is an operand on either side. Tensor cores cut sums off instead of rounding
// them, so after 128 tokens a warp's sum goes to float32 registers; parts are added in float64 in order by
// gram_add.cuh. They keep the order of the accumulators: tile, half of 8 columns, lane, 4 elements.
//
// Cfg: T; C, CP channels, rounded up to 16; WK warps along tokens; STAGES; VX elements of one copy; LONG: a
// warp's share may be more than 128 tokens; at(a, batch, token).
template <class Cfg> struct GramHalf {
  typedef typename Cfg::T T;
  static constexpr int C = Cfg::C, CP = Cfg::CP, N = CP / 16, D = N / 2 + 1, WK = Cfg::WK, kThreads = 32 * N * WK, kStages = Cfg::STAGES;
  static constexpr int kTokens = 32 * WK, kRow = (CP + 8) * 2, kStage = kTokens * kRow, kFlush = 4;
  static constexpr int kPart = N * (N + 1) / 2 * 256;

  // A thread keeps its columns.
  static __device__ __forceinline__ void load(const Args& a, int batch, int first, int end, u32 to) {
    constexpr int kCols = CP / Cfg::VX, kStep = kThreads / kCols;
    static_assert(kThreads % kCols == 0 && kTokens % kStep == 0, "no thread is left over");
    const int c = (int)threadIdx.x % kCols * Cfg::VX, t = (int)threadIdx.x / kCols;
    const int count = c < C ? (C - c < Cfg::VX ? C - c : Cfg::VX) : 0;
#pragma unroll
    for (int k = 0; k < kTokens; k += kStep) {
      const int token = first + t + k < end ? first + t + k : end - 1;
      vt_copy<Cfg::VX * 2>(to + (t + k) * kRow + c * 2, Cfg::at(a, batch, token) + (c < C ? c : 0), token == first + t + k ? count * 2 : 0);
    }
  }

  static __device__ __forceinline__ void flush(float (&total)[D][2][4], float (&acc)[D][2][4]) {
#pragma unroll
    for (int d = 0; d < D; ++d)
#pragma unroll
      for (int e = 0; e < 8; ++e) total[d][e / 4][e % 4] += acc[d][e / 4][e % 4], acc[d][e / 4][e % 4] = 0;
  }

  static __device__ __forceinline__ void run(const Args& a, int tokens, int part_tokens, int parts) {
    extern __shared__ __align__(128) char memory[];
    const u32 shared = vt_shared(memory);
    vt_trigger();
    const int part = (int)blockIdx.x % parts, batch = (int)blockIdx.x / parts;
    const int begin = part * part_tokens, end = begin + part_tokens < tokens ? begin + part_tokens : tokens;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, r = warp % N, wk = warp / N;
    const int steps = (end - begin + kTokens - 1) / kTokens;
    u32 from[D];
#pragma unroll
    for (int d = 0; d < D; ++d)
      from[d] = shared + (wk * 32 + lane / 16 * 8 + lane % 8) * kRow + ((r + d) % N * 16 + lane / 8 % 2 * 8) * 2;
    float total[D][2][4], acc[D][2][4];
#pragma unroll
    for (int d = 0; d < D; ++d)
#pragma unroll
      for (int e = 0; e < 8; ++e) total[d][e / 4][e % 4] = acc[d][e / 4][e % 4] = 0;
    vt_wait();
    // Code comes from a cold cache, so loops stay loops.
#pragma unroll 1
    for (int s = 0; s < kStages - 1; ++s) {
      if (s < steps) load(a, batch, begin + s * kTokens, end, shared + s * kStage);
      vt_commit();
    }
    int now = 0, next = kStages - 1;  // stages
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
      vt_wait_copies<kStages - 2>();
      __syncthreads();
      if (step + kStages - 1 < steps) load(a, batch, begin + (step + kStages - 1) * kTokens, end, shared + next * kStage);
      vt_commit();
      u32 f[2][D][4];
#pragma unroll
      for (int k = 0; k < 2; ++k)
#pragma unroll
        for (int d = 0; d < D; ++d) vt_ldmatrix4_transposed(f[k][d], from[d] + now * kStage + k * 16 * kRow);
#pragma unroll
      for (int k = 0; k < 2; ++k)
#pragma unroll
        for (int d = 0; d < D; ++d) {
          vt_mma<T>(acc[d][0], f[k][0], f[k][d][0], f[k][d][2]);
          vt_mma<T>(acc[d][1], f[k][0], f[k][d][1], f[k][d][3]);
        }
      if (Cfg::LONG && step % kFlush == kFlush - 1) flush(total, acc);
      now = now + 1 == kStages ? 0 : now + 1;
      next = next + 1 == kStages ? 0 : next + 1;
    }
    vt_wait_copies<0>();
    flush(total, acc);
    float4* out = reinterpret_cast<float4*>(a.workspace) + (long long)blockIdx.x * (kPart / 4);
    float4* sums = WK == 1 ? out : reinterpret_cast<float4*>(memory) + wk * (kPart / 4);
    if (WK > 1) __syncthreads();
#pragma unroll
    for (int d = 0; d < D; ++d)
      if (N % 2 != 0 || d < D - 1 || r < N / 2)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float(&x)[4] = total[d][half];
          sums[((d * N + r) * 2 + half) * 32 + lane] = {x[0], x[1], x[2], x[3]};
        }
    if (WK == 1) return;
    // The warps' shares, added in order.
    __syncthreads();
#pragma unroll 1
    for (int i = threadIdx.x; i < kPart / 4; i += kThreads) {
      const float4* share = reinterpret_cast<const float4*>(memory) + i;
      float4 x = share[0];
#pragma unroll
      for (int w = 1; w < WK; ++w) {
        const float4 y = share[w * (kPart / 4)];
        x.x += y.x, x.y += y.y, x.z += y.z, x.w += y.w;
      }
      out[i] = x;
    }
  }

  // Of the two elements that a diagonal's tile has, one is taken.
  static __device__ __forceinline__ bool place(int at, int& i, int& j) {
    const int tile = at / 256, d = tile / N, r = tile % N, lane = at / 4 % 32;
    i = r * 16 + at % 4 / 2 * 8 + lane / 4, j = (r + d) % N * 16 + at / 128 % 2 * 8 + lane % 4 * 2 + at % 2;
    return i < C && j < C && (d > 0 || i <= j);
  }
};
