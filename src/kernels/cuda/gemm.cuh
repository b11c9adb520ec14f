// SPDX-License-Identifier: Apache-2.0
// A tile of a matrix product on tensor cores: f16 and bf16 directly, float32 as three TF32 products
// of each factor's high and low part (or one, where TF32 is allowed).
//
// A struct P says where things are:
//   T                      type in shared memory; BM x BN x BK tile, WM x WN warps, SL slices of BK that
//                          different warps sum, ST stages of shared memory
//   rows(a) cols(a) depth(a)
//   Row; row(a, r)         what is known of a row of A
//   a_at(a, row, k, n)     address of A's elements k.., and how many of them count (n; 0: zeros)
//   a_one(a, row, k)       one element as float, where A is not read 16 bytes at a time (A16 false);
//                          ROWS_FIRST: neighbouring threads take neighbouring rows
//   b_at, b_one            the same of B, (a, k, n0, ..)
//   out_row(a, r)          row of the result, or -1; first_col(a): column of the result that is our first
template <typename T> __device__ __forceinline__ void vt_mma(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1);
template <> __device__ __forceinline__ void vt_mma<f16>(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <> __device__ __forceinline__ void vt_mma<bf16>(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <> __device__ __forceinline__ void vt_mma<float>(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ u32 vt_tf32(float x) {
  u32 y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ void vt_ldmatrix(u32 (&r)[4], u32 from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from));
}
__device__ __forceinline__ void vt_ldmatrix_t(u32 (&r)[4], u32 from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from));
}

template <class P, class Tail> struct VtGemm {
  typedef typename P::T T;
  static constexpr int BM = P::BM, BN = P::BN, BK = P::BK, WM = P::WM, WN = P::WN, SL = P::SL, ST = P::ST;
  static constexpr int kThreads = WM * WN * SL * 32, CH = 16 / (int)sizeof(T);
  static constexpr int LDA = BK + CH, LDB = BN + 8, MI = BM / WM / 16, NI = BN / WN / 8;
  static constexpr int kStep = sizeof(T) == 2 ? 16 : 8, kStage = BM * LDA + BK * LDB;
  static constexpr int kChunksA = BM * BK / CH, kChunksB = BK * BN / CH, CA = (kChunksA + kThreads - 1) / kThreads;

  T* smem;
  float acc[MI][NI][4];
  typename P::Row rows[CA];

  template <class Args> __device__ __forceinline__ void load_a(const Args& a, int m0, int tile, int stage) {
    T* to = smem + stage * kStage;
    if (P::A16) {
#pragma unroll
      for (int i = 0; i < CA; ++i) {
        const int index = threadIdx.x + i * kThreads;
        if (kChunksA % kThreads != 0 && index >= kChunksA) break;
        const int r = index / (BK / CH), kc = index % (BK / CH) * CH;
        int count = 0;
        const T* from = (const T*)P::a_at(a, rows[i], tile * BK + kc, count);
        vt_copy16(vt_shared(to + r * LDA + kc), from, max(0, min(count, CH)) * (int)sizeof(T));
      }
    } else {
      for (int index = threadIdx.x; index < BM * BK; index += kThreads) {
        const int r = P::ROWS_FIRST ? index % BM : index / BK, k = P::ROWS_FIRST ? index / BM : index % BK;
        to[r * LDA + k] = vt_to<T>(P::a_one(a, P::row(a, m0 + r), tile * BK + k));
      }
    }
  }
  template <class Args> __device__ __forceinline__ void load_b(const Args& a, int n0, int tile, int stage) {
    T* to = smem + stage * kStage + BM * LDA;
    if (P::B16) {
#pragma unroll
      for (int i = 0; i < (kChunksB + kThreads - 1) / kThreads; ++i) {
        const int index = threadIdx.x + i * kThreads;
        if (kChunksB % kThreads != 0 && index >= kChunksB) break;
        const int k = index / (BN / CH), n = index % (BN / CH) * CH;
        int count = 0;
        const T* from = (const T*)P::b_at(a, tile * BK + k, n0 + n, count);
        vt_copy16(vt_shared(to + k * LDB + n), from, max(0, min(count, CH)) * (int)sizeof(T));
      }
    } else {
      for (int index = threadIdx.x; index < BK * BN; index += kThreads) {
        const int k = index / BN, n = index % BN;
        to[k * LDB + n] = vt_to<T>(P::b_one(a, tile * BK + k, n0 + n));
      }
    }
  }

  __device__ __forceinline__ void compute16(const T* sa, const T* sb, int wm, int wn, int slice, int lane) {
#pragma unroll
    for (int s = 0; s < BK / kStep / SL; ++s) {
      const int k = (slice * (BK / kStep / SL) + s) * kStep;
      u32 fa[MI][4], fb[NI / 2][4];
#pragma unroll
      for (int i = 0; i < MI; ++i) vt_ldmatrix(fa[i], vt_shared(sa + (wm * MI * 16 + i * 16 + lane % 16) * LDA + k + lane / 16 * 8));
#pragma unroll
      for (int j = 0; j < NI / 2; ++j) vt_ldmatrix_t(fb[j], vt_shared(sb + (k + lane % 16) * LDB + wn * NI * 8 + j * 16 + lane / 16 * 8));
#pragma unroll
      for (int i = 0; i < MI; ++i)
#pragma unroll
        for (int j = 0; j < NI; ++j) vt_mma<T>(acc[i][j], fa[i], fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
    }
  }
  // Tensor cores cut off what they add: sums of one tile go to registers of their own, and from there by rounded
  // additions to the accumulators.
  __device__ __forceinline__ void compute32(const T* sa, const T* sb, int wm, int wn, int slice, int lane) {
    float part[MI][NI][4] = {};
    const int g = lane / 4, t = lane % 4;
#pragma unroll
    for (int s = 0; s < BK / kStep / SL; ++s) {
      const int k = (slice * (BK / kStep / SL) + s) * kStep;
      u32 high[MI][4], low[MI][4];
#pragma unroll
      for (int i = 0; i < MI; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const float x = vt_float(sa[(wm * MI * 16 + i * 16 + g + e % 2 * 8) * LDA + k + t + e / 2 * 4]);
          high[i][e] = vt_tf32(x);
          if (!P::TF32) low[i][e] = vt_tf32(x - __uint_as_float(high[i][e]));
        }
#pragma unroll
      for (int j = 0; j < NI; ++j) {
        const T* from = sb + (k + t) * LDB + wn * NI * 8 + j * 8 + g;
        const float x0 = vt_float(from[0]), x1 = vt_float(from[4 * LDB]);
        const u32 h0 = vt_tf32(x0), h1 = vt_tf32(x1);
        if (!P::TF32) {
          const u32 l0 = vt_tf32(x0 - __uint_as_float(h0)), l1 = vt_tf32(x1 - __uint_as_float(h1));
#pragma unroll
          for (int i = 0; i < MI; ++i) {
            vt_mma<float>(part[i][j], low[i], h0, h1);
            vt_mma<float>(part[i][j], high[i], l0, l1);
          }
        }
#pragma unroll
        for (int i = 0; i < MI; ++i) vt_mma<float>(part[i][j], high[i], h0, h1);
      }
    }
#pragma unroll
    for (int i = 0; i < MI; ++i)
#pragma unroll
      for (int j = 0; j < NI; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) acc[i][j][e] += part[i][j][e];
  }

  template <class Args> __device__ __forceinline__ void run(const Args& a, int m0, int n0) {
    extern __shared__ __align__(16) unsigned char shared[];
    smem = (T*)shared;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int wm = warp % WM, wn = warp / WM % WN, slice = warp / (WM * WN);
    const int tiles = (P::depth(a) + BK - 1) / BK;
    if (P::A16)
#pragma unroll
      for (int i = 0; i < CA; ++i) rows[i] = P::row(a, m0 + (threadIdx.x + i * kThreads) / (BK / CH));
#pragma unroll
    for (int i = 0; i < MI; ++i)
#pragma unroll
      for (int j = 0; j < NI; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) acc[i][j][e] = 0;

    vt_trigger();
    if (!P::B_CONSTANT) vt_wait();
#pragma unroll
    for (int s = 0; s < ST - 1; ++s)
      if (s < tiles) load_b(a, n0, s, s);
    if (P::B_CONSTANT) vt_wait();
#pragma unroll
    for (int s = 0; s < ST - 1; ++s) {
      if (s < tiles) load_a(a, m0, s, s);
      vt_commit();
    }
    for (int tile = 0; tile < tiles; ++tile) {
      vt_wait_copies<ST - 2>();
      __syncthreads();
      const int next = tile + ST - 1;
      if (next < tiles) {
        load_a(a, m0, next, next % ST);
        load_b(a, n0, next, next % ST);
      }
      vt_commit();
      const T* sa = smem + tile % ST * kStage;
      if constexpr (sizeof(T) == 2) compute16(sa, sa + BM * LDA, wm, wn, slice, lane);
      else compute32(sa, sa + BM * LDA, wm, wn, slice, lane);
    }
    vt_wait_copies<0>();

    if (SL > 1) {  // every slice takes its share of the fragments, summed over the slices in order
      __syncthreads();
      float* sums = (float*)shared;
      const int own = warp % (WM * WN);
#pragma unroll
      for (int i = 0; i < MI; ++i)
#pragma unroll
        for (int j = 0; j < NI; ++j)
#pragma unroll
          for (int e = 0; e < 4; ++e) sums[(((slice * WM * WN + own) * MI + i) * NI + j) * 128 + e * 32 + lane] = acc[i][j][e];
      __syncthreads();
#pragma unroll
      for (int i = 0; i < MI; ++i)
#pragma unroll
        for (int j = 0; j < NI; ++j) {
          if ((i * NI + j) % SL != slice) continue;
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            float sum = 0;
#pragma unroll
            for (int s = 0; s < SL; ++s) sum += sums[(((s * WM * WN + own) * MI + i) * NI + j) * 128 + e * 32 + lane];
            acc[i][j][e] = sum;
          }
        }
    }
    const int g = lane / 4, t = lane % 4;
#pragma unroll
    for (int i = 0; i < MI; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int r = P::out_row(a, m0 + wm * MI * 16 + i * 16 + g + half * 8);
        if (r < 0) continue;
#pragma unroll
        for (int j = 0; j < NI; ++j) {
          if (SL > 1 && (i * NI + j) % SL != slice) continue;
          const int col = n0 + wn * NI * 8 + j * 8 + t * 2;
          float x[2] = {acc[i][j][half * 2], acc[i][j][half * 2 + 1]};
          const int first = P::first_col(a);
          if (col < P::cols(a)) vt_finish<Tail>(a, r, first + col, first + P::cols(a), x);
        }
      }
  }
};
