// SPDX-License-Identifier: Apache-2.0
// C = epilogue(A B) on tensor cores, shared by families gemm and conv. What differs is where a row of
// A comes from (class Rows, generated with the problem):
//
//   struct Rows { struct Row; struct Tap;
//     static Row row(const Args&, int m, bool valid);     once per row of the tile that a thread copies
//     static Tap tap(const Args&, int k);                 once per step: where elements k.. of any row lie
//     static const TA* at(const Args&, const Row&, const Tap&, int& elements);  elements: how many may be read
//   };
//   struct Cols { static const T* row(const Args&, int batch, int k); }  B from element (k, 0)
//
// Cfg: T; TA, of A in memory: T, or float where it is rounded to T one by one (VA 1); BM, BN, BK; WM, WN warps along each; STAGES; SPLIT blocks of a cluster share a tile's K;
// VA, VB elements of one copy; N, K extents (N a multiple of VB in B's memory up to NB); PASSES of tf32;
// EARLY: a cluster's end by gemm_early.cuh;
// WIDE: products by wgmma (sm_90a, 16-bit operands, BK 64, 16 rows a warp, WTN a multiple of 64) instead of mma.sync.
//
// K is summed in order within a block and the blocks of a cluster in order of rank: the result does
// not depend on timing.

template <class G, class Cfg> struct EarlyEnd;  // gemm_early.cuh

template <class Cfg> struct Gemm {
  typedef typename Cfg::T T;
  typedef typename Cfg::TA TA;
  static constexpr int kSize = sizeof(T), kWarps = Cfg::WM * Cfg::WN, kThreads = 32 * kWarps;
  static constexpr int BM = Cfg::BM, BN = Cfg::BN, BK = Cfg::BK, WTM = BM / Cfg::WM, WTN = BN / Cfg::WN;
  static constexpr bool kFloat = vt_is_float<T>::value;
  // float32 B is read element by element down its columns: rows 8 words apart (mod 32) do not collide.
  static constexpr int kRowA = BK * kSize, kRowB = kFloat ? (BN + 8) * kSize : BN * kSize;
  static constexpr int kBytesA = BM * kRowA, kBytesB = BK * kRowB, kStage = kBytesA + kBytesB;
  static constexpr int kPitch = BN + 4;  // of the finished tile, in floats

  static __device__ __forceinline__ u32 at_a(int row, int k) {
    return vt_swizzle<kRowA>(row, k * kSize / 16) + k * kSize % 16;
  }
  static __device__ __forceinline__ u32 at_b(int k, int n) {
    // wgmma reads B as columns of 64, each with rows of 128 bytes.
    if (Cfg::WIDE) return n / 64 * (BK * 128) + vt_swizzle<128>(k, n % 64 / 8) + n % 8 * 2;
    return kFloat ? k * kRowB + n * kSize : vt_swizzle<kRowB>(k, n * kSize / 16) + n * kSize % 16;
  }

  // Copies of A: each thread keeps to one 16-byte group of columns, in copies of VA, and several rows.
  static constexpr int VA = Cfg::VA, kGroup = 16 / kSize, kColsA = BK / kGroup, kStepA = kThreads / kColsA, kRowsA = BM / kStepA;
  static_assert(kThreads % kColsA == 0 && BM % kStepA == 0, "");
  static constexpr int VB = Cfg::VB, kColsB = BN / VB, kChunksB = BK * kColsB;

  static __device__ __forceinline__ void load_b(const Args& a, int batch, int k0, int n0, u32 to) {
    if constexpr (Cfg::WIDE && Cfg::CONSTANT && Cfg::K % BK == 0 && Cfg::NB % BN == 0) {
      // One address for all copies: the others lie at constant distances of it, also in shared memory.
      constexpr int kRows = kThreads / 8;
      const T* from = Cfg::Cols::row(a, batch, k0 + threadIdx.x / 8) + n0 + threadIdx.x % 8 * 8;
      const u32 at = to + vt_swizzle<128>(threadIdx.x / 8, threadIdx.x % 8);
#pragma unroll
      for (int g = 0; g < BN / 64; ++g)
#pragma unroll
        for (int k = 0; k < BK; k += kRows) vt_copy16(at + g * (BK * 128) + k * 128, from + k * Cfg::NB + g * 64, 16);
      return;
    }
#pragma unroll
    for (int i = 0; i < (kChunksB + kThreads - 1) / kThreads; ++i) {
      const int c = i * kThreads + threadIdx.x;
      if (kChunksB % kThreads != 0 && c >= kChunksB) break;
      const int k = c / kColsB, n = c % kColsB * VB;
      // k0 is below K, n0 below N: whole tiles need no comparison.
      const bool inside = (Cfg::K % BK == 0 || k0 + k < Cfg::K) && (Cfg::NB % BN == 0 || n0 + n < Cfg::NB);
      const T* from = Cfg::Cols::row(a, batch, inside ? k0 + k : 0) + (inside ? n0 + n : 0);
      const int count = inside ? (Cfg::NB % VB == 0 || Cfg::NB - n0 - n >= VB ? VB : Cfg::NB - n0 - n) : 0;
      if (VB * kSize >= 4) {
        vt_copy<VB * kSize>(to + at_b(k, n), from, count * kSize);
      } else {
        const u16 bits = count ? *reinterpret_cast<const u16*>(from) : (u16)0;
        asm volatile("st.shared.b16 [%0], %1;" ::"r"(to + at_b(k, n)), "h"(bits) : "memory");
      }
    }
  }
  static __device__ __forceinline__ void load_a(const Args& a, const typename Cfg::Rows::Row (&rows)[kRowsA], int k0, u32 to) {
    const int first = threadIdx.x / kColsA;
#pragma unroll
    for (int k = threadIdx.x % kColsA * kGroup, copy = 0; copy < kGroup / VA; ++copy, k += VA) {
      const typename Cfg::Rows::Tap tap = Cfg::Rows::tap(a, k0 + k);
#pragma unroll
      for (int i = 0; i < kRowsA; ++i) {
        int count;
        const TA* from = Cfg::Rows::at(a, rows[i], tap, count);
        const u32 at = to + at_a(first + i * kStepA, k);
        if constexpr (sizeof(TA) != sizeof(T)) {
          const T x = vt_to<T>(count ? vt_float(*from) : 0.0f);
          asm volatile("st.shared.b16 [%0], %1;" ::"r"(at), "h"(x.bits) : "memory");
        } else if (VA * kSize >= 4) {
          vt_copy<VA * kSize>(at, from, count * kSize);
        } else {
          const u16 bits = count ? *reinterpret_cast<const u16*>(from) : (u16)0;
          asm volatile("st.shared.b16 [%0], %1;" ::"r"(at), "h"(bits) : "memory");
        }
      }
    }
  }

  static constexpr int kM = WTM / 16, kN = WTN / 8;
  typedef float Acc[kM][kN][4];

  static __device__ __forceinline__ void multiply16(Acc& acc, u32 a_at, u32 b_at, int wm, int wn) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < BK; k += 16) {
      u32 fa[kM][4], fb[kN / 2][4];
#pragma unroll
      for (int i = 0; i < kM; ++i)
        vt_ldmatrix4(fa[i], a_at + vt_swizzle<kRowA>(wm * WTM + i * 16 + lane % 16, k / 8 + lane / 16));
#pragma unroll
      for (int j = 0; j < kN / 2; ++j)
        vt_ldmatrix4_transposed(fb[j], b_at + vt_swizzle<kRowB>(k + lane % 16, (wn * WTN + j * 16) / 8 + lane / 16));
#pragma unroll
      for (int i = 0; i < kM; ++i)
#pragma unroll
        for (int j = 0; j < kN; ++j) vt_mma<T>(acc[i][j], fa[i], fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
    }
  }

  // The same by wgmma, which reads both operands where they lie. `acc` is complete after wide_wait().
  static __device__ __forceinline__ void multiply_wide(Acc& acc, u32 a_at, u32 b_at, int wm, int wn) {
    u64 da = vt_descriptor(a_at + wm / 4 * (64 * 128), 0), db = vt_descriptor(b_at + wn * (WTN / 64) * (BK * 128), BK * 128);
    vt_wide_fence();
#pragma unroll
    for (int k = 0; k < BK; k += 16, da += 32 >> 4, db += 2048 >> 4) vt_wgmma(acc[0], da, db);
    vt_wide_commit();
  }

  // Three products of tf32 halves: what is lost is 2^-22 of each product. Tensor cores cut their sums
  // off instead of rounding them, so sums of 16 products are started afresh and added in float32.
  static __device__ __forceinline__ void multiply32(Acc& acc, u32 a_at, u32 b_at, int wm, int wn) {
    const int lane = threadIdx.x % 32;
    constexpr int kPasses = Cfg::PASSES;
#pragma unroll
    for (int k = 0; k < BK; k += 8) {
      u32 high[kM][4], low[kM][4];
#pragma unroll
      for (int i = 0; i < kM; ++i) {
        u32 f[4];
        vt_ldmatrix4(f, a_at + vt_swizzle<kRowA>(wm * WTM + i * 16 + lane % 16, k / 4 + lane / 16));
#pragma unroll
        for (int e = 0; e < 4; ++e)
          if (kPasses == 1) high[i][e] = vt_tf32(__uint_as_float(f[e]));
          else vt_split(f[e], high[i][e], low[i][e]);
      }
#pragma unroll
      for (int j = 0; j < kN; ++j) {
        u32 b[2], b_high[2], b_low[2];
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          asm volatile("ld.shared.b32 %0, [%1];" : "=r"(b[e]) : "r"(b_at + (k + lane % 4 + e * 4) * kRowB + (wn * WTN + j * 8 + lane / 4) * 4) : "memory");
          if (kPasses == 1) b_high[e] = vt_tf32(__uint_as_float(b[e]));
          else vt_split(b[e], b_high[e], b_low[e]);
        }
#pragma unroll
        for (int i = 0; i < kM; ++i) {
          if (kPasses == 1) {
            vt_mma_tf32(acc[i][j], high[i], b_high[0], b_high[1]);
            continue;
          }
          float part[4] = {0, 0, 0, 0};
          vt_mma_tf32(part, low[i], b_high[0], b_high[1]);
          vt_mma_tf32(part, high[i], b_low[0], b_low[1]);
          vt_mma_tf32(part, high[i], b_high[0], b_high[1]);
#pragma unroll
          for (int e = 0; e < 4; ++e) acc[i][j][e] += part[e];
        }
      }
    }
  }

  // Straight from the registers of mma, where a group of four lanes holds two adjacent columns each of eight:
  // for tails of eight columns, lanes exchange four such groups, so that each has one whole.
  static constexpr bool kEights = Tail::V == 8 && kN % 4 == 0 && Cfg::N % 8 == 0;
  static constexpr bool kDirect = Cfg::SPLIT == 1 && (kEights || Tail::V < 8);
  static __device__ __forceinline__ void finish_direct(Acc& acc, const Args& a, int first_row, int m0, int n0, int rows) {
    const int lane = threadIdx.x % 32, quad = lane % 4;
    if constexpr (kEights) {
      constexpr int kGroups = kN / 4, kAtOnce = kGroups % 2 == 0 ? 2 : 1;
#pragma unroll
      for (int i = 0; i < kM; ++i)
#pragma unroll
        for (int g = 0; g < kGroups; g += kAtOnce) {
          float x[2 * kAtOnce][8];
          int row[2 * kAtOnce], col[2 * kAtOnce];
#pragma unroll
          for (int piece = 0; piece < 2 * kAtOnce; ++piece) {
            const int half = piece % 2, j = (g + piece / 2) * 4;
            float pairs[2][4];  // of groups quad % 2 and 2 + quad % 2: columns of two adjacent lanes
#pragma unroll
            for (int far = 0; far < 2; ++far)
#pragma unroll
              for (int e = 0; e < 2; ++e) {
                const float even = acc[i][j + 2 * far][half * 2 + e], odd = acc[i][j + 2 * far + 1][half * 2 + e];
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
            const int r = m0 + i * 16 + half * 8 + lane / 4;
            col[piece] = n0 + (j + quad) * 8;
            row[piece] = r < rows && col[piece] < Cfg::N ? first_row + r : -1;
          }
          Tail::template finish_some<8>(a, row, col, x);
        }
    } else {
#pragma unroll
      for (int i = 0; i < kM; ++i)
#pragma unroll
        for (int j = 0; j < kN; ++j)
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int r = m0 + i * 16 + half * 8 + lane / 4, n = n0 + j * 8 + quad * 2;
            float x[2] = {acc[i][j][half * 2], acc[i][j][half * 2 + 1]};
            if (r < rows) vt_finish<Tail>(a, first_row + r, n, Cfg::N, x);
          }
    }
  }

  /// `rows`: of each batch index.
  static __device__ __forceinline__ void run(const Args& a, int rows) {
    extern __shared__ __align__(1024) char memory[];
    const u32 shared = vt_shared(memory);
    vt_trigger();
    if constexpr (Cfg::EARLY) EarlyEnd<Gemm, Cfg>::begin(shared);
    const int split = Cfg::SPLIT > 1 ? vt_block(a) % Cfg::SPLIT : 0, tile = vt_block(a) / Cfg::SPLIT;
    constexpr int kTilesN = (Cfg::N + BN - 1) / BN, kSteps = (Cfg::K + BK - 1) / BK;
    const int n0 = tile % kTilesN * BN, tiles_m = (rows + BM - 1) / BM;
    const int batch = Cfg::CONSTANT ? 0 : tile / kTilesN / tiles_m, first_row = batch * rows;
    const int m0 = (tile / kTilesN - batch * tiles_m) * BM;
    const int begin = split * kSteps / Cfg::SPLIT, end = (split + 1) * kSteps / Cfg::SPLIT, steps = end - begin;
    const int warp = threadIdx.x / 32, wm = warp % Cfg::WM, wn = warp / Cfg::WM;
    constexpr int S = Cfg::STAGES;

    // Constant columns are fetched before the predecessor has ended.
    if (Cfg::CONSTANT) {
#pragma unroll
      for (int s = 0; s < S - 1; ++s)
        if (s < steps) load_b(a, batch, (begin + s) * BK, n0, shared + s * kStage + kBytesA);
    }
    vt_wait();
    typename Cfg::Rows::Row row[kRowsA];
#pragma unroll
    for (int i = 0; i < kRowsA; ++i) {
      const int m = m0 + threadIdx.x / kColsA + i * kStepA;
      row[i] = Cfg::Rows::row(a, first_row + (m < rows ? m : 0), m < rows);
    }
#pragma unroll
    for (int s = 0; s < S - 1; ++s) {
      if (s < steps) {
        if (!Cfg::CONSTANT) load_b(a, batch, (begin + s) * BK, n0, shared + s * kStage + kBytesA);
        load_a(a, row, (begin + s) * BK, shared + s * kStage);
      }
      vt_commit();
    }
    Acc acc;
#pragma unroll
    for (int i = 0; i < kM; ++i)
#pragma unroll
      for (int j = 0; j < kN; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) acc[i][j][e] = 0;
    int slot = 0, next = S - 1;
    for (int step = 0; step < steps; ++step) {
      vt_wait_copies<S - 2>();
      if (Cfg::WIDE) vt_async_fence();
      __syncthreads();
      const u32 at = shared + slot * kStage;
      if constexpr (Cfg::WIDE) multiply_wide(acc, at, at + kBytesA, wm, wn);
      if (step + S - 1 < steps) {
        load_a(a, row, (begin + step + S - 1) * BK, shared + next * kStage);
        load_b(a, batch, (begin + step + S - 1) * BK, n0, shared + next * kStage + kBytesA);
      }
      vt_commit();
      if constexpr (Cfg::WIDE) vt_wide_wait(acc[0]);
      else if constexpr (kFloat) multiply32(acc, at, at + kBytesA, wm, wn);
      else multiply16(acc, at, at + kBytesA, wm, wn);
      slot = slot + 1 == S ? 0 : slot + 1;
      next = next + 1 == S ? 0 : next + 1;
    }
    if constexpr (kDirect) {
      finish_direct(acc, a, first_row, m0 + wm * WTM, n0 + wn * WTN, rows);
      return;
    }
    vt_wait_copies<0>();
    __syncthreads();

    // The finished tile goes through shared memory, so that the epilogue reads and writes whole lines, and
    // blocks of a cluster each other's.
    if constexpr (Cfg::EARLY) {
      EarlyEnd<Gemm, Cfg>::run(a, acc, memory, shared, wm, wn, m0, n0, first_row, rows);
      return;
    }
    float* out = reinterpret_cast<float*>(memory);
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kM; ++i)
#pragma unroll
      for (int j = 0; j < kN; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          *reinterpret_cast<float2*>(out + (wm * WTM + i * 16 + half * 8 + lane / 4) * kPitch + wn * WTN + j * 8 + lane % 4 * 2) =
              make_float2(acc[i][j][half * 2], acc[i][j][half * 2 + 1]);
    constexpr int V = Tail::V, kCols = BN / V, kRows = BM / Cfg::SPLIT;
    if (Cfg::SPLIT > 1) vt_cluster_sync();
    else __syncthreads();
    const int row0 = Cfg::SPLIT > 1 ? (int)vt_cluster_rank() * kRows : 0;
    for (int c = threadIdx.x; c < kRows * kCols; c += kThreads) {
      const int r = row0 + c / kCols, n = c % kCols * V;
      float x[V];
      if (Cfg::SPLIT > 1) {
        // Groups of four; a narrower tail reads one of them several times.
        constexpr int kGroups = V < 4 ? 1 : V / 4;
        float sum[kGroups * 4];
#pragma unroll
        for (int g = 0; g < kGroups * 4; ++g) sum[g] = 0;
#pragma unroll
        for (int s = 0; s < Cfg::SPLIT; ++s)
#pragma unroll
          for (int g = 0; g < kGroups; ++g) {
            const float4 v = vt_load_cluster(shared + (r * kPitch + n / 4 * 4 + g * 4) * 4, s);
            sum[g * 4] += v.x, sum[g * 4 + 1] += v.y, sum[g * 4 + 2] += v.z, sum[g * 4 + 3] += v.w;
          }
#pragma unroll
        for (int v = 0; v < V; ++v) x[v] = V >= 4 ? sum[v % (kGroups * 4)] : (n % 4 + v == 0 ? sum[0] : n % 4 + v == 1 ? sum[1] : n % 4 + v == 2 ? sum[2] : sum[3]);
      } else {
        vt_load<V>(out + r * kPitch + n, x);
      }
      if (m0 + r < rows && n0 + n < Cfg::N) vt_finish<Tail>(a, first_row + m0 + r, n0 + n, Cfg::N, x);
    }
    if (Cfg::SPLIT > 1) vt_cluster_sync();
  }
};
