// SPDX-License-Identifier: Apache-2.0
// G = X^T X in float32 with each product once. A launch of as many blocks as multiprocessors takes a part of the
// tokens each, several stages of them on the way. A thread has 8 x 8 elements and every G-th token, at most 256: channels
// are N eights, of which eight i is quads i and i + N, so that a quarter of a warp reads neighbouring quads; it makes
// eights (i, (i + d) % N) for d up to N / 2. Its block adds the threads' sums in float64, gram_add.cuh the blocks'.
// Parts keep the order of the accumulators: row of 8 and half of its columns, tile, 4 elements.
//
// Cfg: C, CP channels, rounded up to 8; G groups of threads; K tokens of a group in a stage; STAGES; VX elements of one
// copy; at(a, batch, token).
template <class Cfg> struct GramFloat {
  static constexpr int C = Cfg::C, CP = Cfg::CP, N = CP / 8, kTiles = N * (N + 1) / 2, G = Cfg::G, kStages = Cfg::STAGES;
  static constexpr int kThreads = (G * kTiles + 31) / 32 * 32, kTokens = G * Cfg::K, kPart = kTiles * 64;
  // Quads of a row, with such a gap that the next token's lie in other banks.
  static constexpr int kQuads = 2 * N, kPitch = kQuads + (N < 8 ? N : 1), kStage = kTokens * kPitch * 16;

  // A thread keeps its columns.
  static __device__ __forceinline__ void load(const Args& a, int batch, int first, int end, u32 to) {
    constexpr int kCols = CP / Cfg::VX, kStep = kThreads / kCols;
    static_assert(kStep > 0, "a row has fewer copies than a block threads");
    const int c = (int)threadIdx.x % kCols * Cfg::VX, t = (int)threadIdx.x / kCols;
    const int count = c < C ? (C - c < Cfg::VX ? C - c : Cfg::VX) : 0;
#pragma unroll
    for (int k = 0; k < kTokens; k += kStep)
      if (t < kStep && t + k < kTokens) {
        const int token = first + t + k < end ? first + t + k : end - 1;
        vt_copy<Cfg::VX * 4>(to + (t + k) * (kPitch * 16) + c * 4, Cfg::at(a, batch, token) + (c < C ? c : 0), token == first + t + k ? count * 4 : 0);
      }
  }

  static __device__ __forceinline__ void run(const Args& a, int tokens, int part_tokens, int parts) {
    extern __shared__ float4 memory[];
    const u32 shared = vt_shared(memory);
    vt_trigger();
    const int part = (int)blockIdx.x % parts, batch = (int)blockIdx.x / parts;
    const int begin = part * part_tokens, end = begin + part_tokens < tokens ? begin + part_tokens : tokens;
    const int tile = (int)threadIdx.x % kTiles, group = (int)threadIdx.x / kTiles, i = tile % N, j = (i + tile / N) % N;
    const int steps = (end - begin + kTokens - 1) / kTokens;
    // Threads that are too many repeat the last group's sums and do not store them.
    const float4* from = memory + (group < G ? group : G - 1) * kPitch;
    float sum[8][8];
#pragma unroll
    for (int y = 0; y < 8; ++y)
#pragma unroll
      for (int x = 0; x < 8; ++x) sum[y][x] = 0;
    vt_wait();
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
      const float4* row = from + now * (kStage / 16);
#pragma unroll 2
      for (int k = 0; k < Cfg::K; ++k, row += G * kPitch) {
        const float4 u0 = row[i], u1 = row[i + N], v0 = row[j], v1 = row[j + N];
        const float u[8] = {u0.x, u0.y, u0.z, u0.w, u1.x, u1.y, u1.z, u1.w}, v[8] = {v0.x, v0.y, v0.z, v0.w, v1.x, v1.y, v1.z, v1.w};
#pragma unroll
        for (int y = 0; y < 8; ++y)
#pragma unroll
          for (int x = 0; x < 8; ++x) sum[y][x] = fmaf(u[y], v[x], sum[y][x]);
      }
      now = now + 1 == kStages ? 0 : now + 1;
      next = next + 1 == kStages ? 0 : next + 1;
    }
    vt_wait_copies<0>();
    __syncthreads();
    if (group < G)
#pragma unroll
      for (int q = 0; q < 16; ++q) {
        const float* x = sum[q / 2] + q % 2 * 4;
        memory[(group * 16 + q) * kTiles + tile] = {x[0], x[1], x[2], x[3]};
      }
    __syncthreads();
    const float* shares = reinterpret_cast<const float*>(memory);
    float* out = reinterpret_cast<float*>(a.workspace) + (long long)blockIdx.x * kPart;
#pragma unroll 1
    for (int e = threadIdx.x; e < kPart; e += kThreads) {
      double total = 0;
#pragma unroll
      for (int g = 0; g < G; ++g) total += (double)shares[g * kPart + e];
      out[e] = (float)total;
    }
  }

  // Of the two elements that a diagonal's tile has, one is taken.
  static __device__ __forceinline__ bool place(int at, int& i, int& j) {
    const int q = at / 4 / kTiles, tile = at / 4 % kTiles, y = q / 2;
    i = (y / 4 * N + tile % N) * 4 + y % 4, j = (q % 2 * N + (tile % N + tile / N) % N) * 4 + at % 4;
    return i < C && j < C && (tile >= N || i <= j);
  }
};
