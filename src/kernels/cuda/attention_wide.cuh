// SPDX-License-Identifier: Apache-2.0
// softmax(scale q k^T) v by wgmma (sm_90a), in one pass over the keys like attention.cuh. A warpgroup has 64
// queries and works on two steps at once: the tensor cores multiply one step's probabilities by its values
// while the softmax of the next step is computed (as FlashAttention-3 does, Shah et al. 2024).
//
// Cfg: as for Attention, with D and DV multiples of 8; WQ warpgroups of 64 queries each, WK that share the keys
// of each step, SPLIT blocks of a cluster that share the steps; BC keys of a warpgroup and step, a multiple
// of 16; STAGES of keys and of values in shared memory. What was computed apart is joined in the order of blocks, then
// warpgroups. Generated with it, for the sizes at hand: vt_wgmma_scores and _out, vt_wide_wait_scores and _out.
template <class Cfg> struct AttentionWide {
  typedef typename Cfg::T T;
  static constexpr int WQ = Cfg::WQ, WK = Cfg::WK, BC = Cfg::BC, S = Cfg::STAGES, DP = Cfg::DP;
  static constexpr int kThreads = 128 * WQ * WK, kQueries = 64 * WQ, kKeys = BC * WK;
  // Operands lie in slabs of 64 columns with rows of 128 bytes. Of values, whole slabs are multiplied: what is
  // in columns past DV goes into sums that nobody reads.
  static constexpr int kSlabs = (DP + 63) / 64, kSlabsV = (Cfg::DV + 63) / 64, kWidth = 64 * kSlabsV;
  static constexpr int kBytesQ = kSlabs * kQueries * 128, kBytesK = kSlabs * kKeys * 128, kBytesV = kSlabsV * kKeys * 128;
  static constexpr int kPitch = kWidth + 8;  // of the sums in shared memory, in floats: a row's sums, maximum, total
  typedef float Scores[BC / 8][4];
  typedef float Out[kWidth / 8][4];

  // Rows of `Cols` elements, Extent of them there, the others zero; so are rows from `rows` on. A thread keeps
  // to one chunk of the columns, so that its addresses lie at constant distances.
  template <int Rows, int Cols, int Extent, bool Whole>
  static __device__ __forceinline__ void copy(const T* from, int stride, int rows, u32 to) {
    constexpr int kChunks = Cols / 8, kLanes = kChunks > 8 ? 16 : kChunks > 4 ? 8 : kChunks > 2 ? 4 : 2, kStep = kThreads / kLanes;
    const int c = threadIdx.x % kLanes, first = threadIdx.x / kLanes;
    if (kChunks != kLanes && c >= kChunks) return;
    const bool there = Cols == Extent || c * 8 < Extent;
    const T* at = from + first * (long long)stride + c * 8;
    to += c / 8 * (Rows * 128) + vt_swizzle<128>(first, c % 8);
#pragma unroll
    for (int i = 0; i < (Rows + kStep - 1) / kStep; ++i) {
      if ((i + 1) * kStep > Rows && first + i * kStep >= Rows) break;
      const bool inside = there && (Whole || first + i * kStep < rows);
      vt_copy16(to + i * kStep * 128, inside ? at + i * kStep * (long long)stride : from, inside ? 16 : 0);
    }
  }
  template <int Rows, int Cols, int Extent>
  static __device__ __forceinline__ void load(const T* from, int stride, int rows, u32 to) {
    if (rows >= Rows) copy<Rows, Cols, Extent, true>(from, stride, rows, to);
    else copy<Rows, Cols, Extent, false>(from, stride, rows, to);
  }

  // Of a step's scores makes probabilities not yet divided by their sum; what was summed before has to be multiplied by `shrink`.
  static __device__ __forceinline__ void softmax(Scores& s, int left, float (&most)[2], float (&total)[2], float (&shrink)[2]) {
    // Keys past the end count as minus infinity.
    if (left < BC) {
      const int mine = left - threadIdx.x % 4 * 2;
#pragma unroll
      for (int j = 0; j < BC / 8; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          if (j * 8 + e % 2 >= mine) s[j][e] = Cfg::NEGATIVE ? vt_infinity() : -vt_infinity();
    }
    float high[4] = {most[0], most[0], most[1], most[1]}, scaled[2];
#pragma unroll
    for (int j = 0; j < BC / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if (Cfg::NEGATIVE) s[j][e] = -s[j][e];
        high[e] = vt_max_exact(high[e], s[j][e]);
      }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float top = vt_max_exact(high[2 * h], high[2 * h + 1]);
      top = vt_max_exact(top, __shfl_xor_sync(0xffffffffu, top, 1));
      top = vt_max_exact(top, __shfl_xor_sync(0xffffffffu, top, 2));
      // Where every key so far lies past the end, all become zero.
      scaled[h] = top == -vt_infinity() ? 0.0f : top * Cfg::scale();
      shrink[h] = vt_exp2(fmaf(most[h], Cfg::scale(), -scaled[h]));
      most[h] = top;
      total[h] *= shrink[h];
    }
#pragma unroll
    for (int j = 0; j < BC / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        s[j][e] = vt_exp2(fmaf(s[j][e], Cfg::scale(), -scaled[e / 2]));
        total[e / 2] += s[j][e];
      }
  }
  static __device__ __forceinline__ void pack(const Scores& s, u32 (&p)[BC / 16][4]) {
#pragma unroll
    for (int j = 0; j < BC / 16; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) p[j][e] = vt_pack<T>(s[2 * j + e / 2][e % 2 * 2], s[2 * j + e / 2][e % 2 * 2 + 1]);
  }
  static __device__ __forceinline__ void multiply_scores(Scores& s, u64 q, u64 k) {
    vt_wide_fence();
#pragma unroll
    for (int i = 0; i < DP / 16; ++i)
      vt_wgmma_scores(s, q + (i / 4 * (kQueries * 128) + i % 4 * 32) / 16, k + (i / 4 * (kKeys * 128) + i % 4 * 32) / 16, i > 0);
    vt_wide_commit();
  }
  static __device__ __forceinline__ void multiply_out(Out& out, const u32 (&p)[BC / 16][4], u64 v) {
    vt_wide_fence();
#pragma unroll
    for (int j = 0; j < BC / 16; ++j) vt_wgmma_out(out, p[j], v + j * 2048 / 16);
    vt_wide_commit();
  }

  // Sums, maxima and totals of this warpgroup over `steps` steps from key `key0` on, which are not zero.
  static __device__ __forceinline__ void attend(const Args& a, int batch, int q0, int queries, int key0, int keys, int steps, u32 memory,
                                                Out& out, float (&most)[2], float (&total)[2]) {
    // The same in a warp, and known to be: descriptors are then computed once for a warp.
    const int group = __shfl_sync(0xffffffffu, (int)threadIdx.x / 128, 0), wq = WQ > 1 ? group % WQ : 0, wk = WK > 1 ? group / WQ : 0;
    const u32 k_at = memory + kBytesQ, v_at = k_at + S * kBytesK;
    const T* k = Cfg::k(a, batch) + (long long)key0 * Cfg::KS(a);
    const T* v = Cfg::v(a, batch) + (long long)key0 * Cfg::VS(a);
    keys -= key0;
    // A group of copies: keys of a step, and values of the step before it. Slots of earlier steps' are free by then.
    const auto fetch = [&](int step, int slot, int slot_v) {
      if (step < steps) load<kKeys, DP, Cfg::D>(k + (long long)step * kKeys * Cfg::KS(a), Cfg::KS(a), keys - step * kKeys, k_at + slot * kBytesK);
      if (step > 0 && step <= steps)
        load<kKeys, Cfg::DV, Cfg::DV>(v + (long long)(step - 1) * kKeys * Cfg::VS(a), Cfg::VS(a), keys - (step - 1) * kKeys, v_at + slot_v * kBytesV);
      vt_commit();
    };
    load<kQueries, DP, Cfg::D>(Cfg::q(a, batch) + (long long)q0 * Cfg::QS(a), Cfg::QS(a), queries - q0, memory);
#pragma unroll
    for (int s = 0; s < S; ++s) fetch(s, s, s - 1);

    const u64 dq = vt_descriptor(memory + wq * (64 * 128), 0);
    const u32 k_own = k_at + wk * (BC * 128), v_own = v_at + wk * (BC * 128);
    Scores s;
    u32 p[BC / 16][4] = {};
    float shrink[2];
    vt_wait_copies<S - 1>();
    vt_async_fence();
    __syncthreads();
    multiply_scores(s, dq, vt_descriptor(k_own, 0));
    vt_wide_wait_scores<0>(s);
    softmax(s, keys - wk * BC, most, total, shrink);
    shrink[0] = shrink[1] = 1;  // nothing has been summed yet
    int slot = 0, before = S - 1;
    for (int step = 0;; ++step) {
      // At the loop's head, since the assembler would move this wait ahead of the softmax in one block of code.
      vt_wide_wait_out(out, p);
      if (__any_sync(0xffffffffu, shrink[0] != 1.0f || shrink[1] != 1.0f))
#pragma unroll
        for (int j = 0; j < kWidth / 8; ++j)
#pragma unroll
          for (int e = 0; e < 4; ++e) out[j][e] *= shrink[e / 2];
      pack(s, p);
      vt_wait_copies<S - 2>();
      vt_async_fence();
      __syncthreads();
      if (step + 1 == steps) break;
      const int next = slot + 1 == S ? 0 : slot + 1;
      multiply_scores(s, dq, vt_descriptor(k_own + next * kBytesK, 0));
      multiply_out(out, p, vt_descriptor(v_own + slot * kBytesV, kKeys * 128));
      fetch(step + S, slot, before);
      vt_wide_wait_scores<1>(s);
      softmax(s, keys - (step + 1) * kKeys - wk * BC, most, total, shrink);
      before = slot, slot = next;
    }
    multiply_out(out, p, vt_descriptor(v_own + slot * kBytesV, kKeys * 128));
    vt_wide_wait_out(out, p);
  }

  // Totals are 1 at least, or no number.
  static __device__ __forceinline__ float inverse(float total) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(total));
    return y;
  }
  // Straight from the registers, where four lanes hold two adjacent columns each of eight: for tails of eight
  // columns they exchange four such groups, so that each has one whole.
  static __device__ __forceinline__ void finish(const Args& a, const Out& out, const float (&total)[2], int first_row, int left) {
    const int quad = threadIdx.x % 4, r = threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
    const float by[2] = {inverse(total[0]), inverse(total[1])};
    if constexpr (Tail::V == 8 && Cfg::DV % 8 == 0) {
      constexpr int kPieces = kWidth / 16;
      float x[kPieces][8];
      int row[kPieces], col[kPieces];
#pragma unroll
      for (int piece = 0; piece < kPieces; ++piece) {
        const int half = piece % 2, j = piece / 2 * 4;
        float pairs[2][4];  // of groups quad % 2 and 2 + quad % 2: columns of two adjacent lanes
#pragma unroll
        for (int far = 0; far < 2; ++far)
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            const float even = out[j + 2 * far][half * 2 + e] * by[half], odd = out[j + 2 * far + 1][half * 2 + e] * by[half];
            const float other = __shfl_xor_sync(0xffffffffu, quad % 2 ? even : odd, 1);
            pairs[far][e] = quad % 2 ? other : even;
            pairs[far][2 + e] = quad % 2 ? odd : other;
          }
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const float other = __shfl_xor_sync(0xffffffffu, quad / 2 ? pairs[0][e] : pairs[1][e], 2);
          x[piece][e] = quad / 2 ? other : pairs[0][e];
          x[piece][4 + e] = quad / 2 ? pairs[1][e] : other;
        }
        col[piece] = (j + quad) * 8;
        row[piece] = r + half * 8 < left && col[piece] < Cfg::DV ? first_row + r + half * 8 : -1;
      }
      Tail::template finish_some<8>(a, row, col, x);
    } else {
#pragma unroll
      for (int j = 0; j < Cfg::DV / 8; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float x[2] = {out[j][half * 2] * by[half], out[j][half * 2 + 1] * by[half]};
          if (r + half * 8 < left) vt_finish<Tail>(a, first_row + r + half * 8, j * 8 + quad * 2, Cfg::DV, x);
        }
    }
  }

  static __device__ __forceinline__ float4 part(const float* memory, int rank, int wk, int row, int col) {
    const float* at = memory + (wk * kQueries + row) * kPitch + col;
    return Cfg::SPLIT > 1 ? vt_load_cluster(vt_shared(at), rank) : *reinterpret_cast<const float4*>(at);
  }
  // Joins what warpgroups, and blocks of the cluster, have of the same queries.
  static __device__ __forceinline__ void join(const Args& a, float* memory, const Out& out, const float (&most)[2], const float (&total)[2],
                                              int first_row, int left) {
    const int group = threadIdx.x / 128, lane = threadIdx.x % 32;
    __syncthreads();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float* row = memory + (group / WQ * kQueries + group % WQ * 64 + threadIdx.x % 128 / 32 * 16 + half * 8 + lane / 4) * kPitch;
#pragma unroll
      for (int j = 0; j < kWidth / 8; ++j)
        *reinterpret_cast<float2*>(row + j * 8 + lane % 4 * 2) = make_float2(out[j][2 * half], out[j][2 * half + 1]);
      if (lane % 4 == 0) *reinterpret_cast<float2*>(row + kWidth) = make_float2(most[half] * Cfg::scale(), total[half]);
    }
    if (Cfg::SPLIT > 1) vt_cluster_sync();
    else __syncthreads();
    constexpr int kRows = kQueries / Cfg::SPLIT, kCols = Cfg::DV / 8;
    const int row0 = Cfg::SPLIT > 1 ? (int)vt_cluster_rank() * kRows : 0;
    for (int i = threadIdx.x; i < kRows * kCols; i += kThreads) {
      const int r = row0 + i / kCols, c = i % kCols * 8;
      if (r >= left) break;
      float high = -vt_infinity(), sum = 0, x[8];
#pragma unroll
      for (int s = 0; s < Cfg::SPLIT * WK; ++s) high = vt_max_exact(high, part(memory, s / WK, s % WK, r, kWidth).x);
      vt_fill<8>(0.0f, x);
#pragma unroll
      for (int s = 0; s < Cfg::SPLIT * WK; ++s) {
        const float4 stats = part(memory, s / WK, s % WK, r, kWidth), low = part(memory, s / WK, s % WK, r, c),
                     up = part(memory, s / WK, s % WK, r, c + 4);
        const float factor = stats.x == -vt_infinity() ? 0.0f : vt_exp2(stats.x - high);
        sum += factor * stats.y;
        x[0] += factor * low.x, x[1] += factor * low.y, x[2] += factor * low.z, x[3] += factor * low.w;
        x[4] += factor * up.x, x[5] += factor * up.y, x[6] += factor * up.z, x[7] += factor * up.w;
      }
      const float by = inverse(sum);
#pragma unroll
      for (int v = 0; v < 8; v += Tail::V) {
        float y[Tail::V];
#pragma unroll
        for (int e = 0; e < Tail::V; ++e) y[e] = x[v + e] * by;
        vt_finish<Tail>(a, first_row + r, c + v, Cfg::DV, y);
      }
    }
    // No block may leave while others read its memory.
    if (Cfg::SPLIT > 1) vt_cluster_sync();
  }

  static __device__ __forceinline__ void run(const Args& a, int queries, int keys) {
    extern __shared__ __align__(1024) char memory[];
    vt_trigger();
    const int rank = Cfg::SPLIT > 1 ? vt_block(a) % Cfg::SPLIT : 0, tile = vt_block(a) / Cfg::SPLIT;
    const int tiles = (queries + kQueries - 1) / kQueries, batch = tile / tiles, q0 = (tile - batch * tiles) * kQueries;
    const int steps = (keys + kKeys - 1) / kKeys, begin = rank * steps / Cfg::SPLIT, end = (rank + 1) * steps / Cfg::SPLIT;
    Out out;
    float most[2] = {-vt_infinity(), -vt_infinity()}, total[2] = {0, 0};
#pragma unroll
    for (int j = 0; j < kWidth / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) out[j][e] = 0;
    vt_wait();
    if (begin < end) attend(a, batch, q0, queries, begin * kKeys, keys, end - begin, vt_shared(memory), out, most, total);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      total[h] += __shfl_xor_sync(0xffffffffu, total[h], 1);
      total[h] += __shfl_xor_sync(0xffffffffu, total[h], 2);
    }
    const int first_row = batch * queries + q0, left = queries - q0, wq = threadIdx.x / 128;
    if constexpr (WK * Cfg::SPLIT > 1) join(a, reinterpret_cast<float*>(memory), out, most, total, first_row, left);
    else finish(a, out, total, first_row + wq * 64, left - wq * 64);
  }
};
