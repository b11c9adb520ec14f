// SPDX-License-Identifier: Apache-2.0
// C = epilogue(norm(A) B + shift): Gemm whose rows of A lie whole in shared memory, where they are normalized
// before the products; only B streams. Every block of columns does that anew, so few blocks of columns are best.
//
// A thread normalizes what it has copied itself, so that nothing but the sums of a row passes between
// threads, and those are lanes of one warp. Mean, then squares of the differences, in float32; the result is
// rounded to T as a layer norm of its own would store it.

template <class Cfg> struct NormGemm : Gemm<Cfg> {
  typedef Gemm<Cfg> Base;
  typedef typename Cfg::T T;
  static constexpr int BM = Base::BM, BN = Base::BN, BK = Base::BK, S = Cfg::STAGES;
  static constexpr int kSteps = (Cfg::K + BK - 1) / BK, kGroup = Base::kGroup, kRowsA = Base::kRowsA;
  static constexpr int kBytesRows = kSteps * Base::kBytesA;  // then stages of B, then the shift
  // Rows under way at once, as registers allow.
  static constexpr int kAtOnce = kRowsA % 2 == 0 && kSteps * kGroup <= (Base::kThreads <= 128 ? 48 : 32) ? 2 : 1;
  static constexpr bool kAll = kSteps < S;  // all of B is there before the products
  static_assert(Cfg::CONSTANT && Base::kDirect && sizeof(typename Cfg::TA) == sizeof(T), "");

  // Of the lanes that share a row.
  static __device__ __forceinline__ float row_sum(float x) {
#pragma unroll
    for (int i = Base::kColsA / 2; i > 0; i /= 2) x += __shfl_xor_sync(0xffffffffu, x, i);
    return x;
  }
  static __device__ __forceinline__ float sum_of(const float (&x)[kGroup]) {
    const float low = (x[0] + x[1]) + (x[2] + x[3]);
    return kGroup == 4 ? low : low + ((x[kGroup - 4] + x[kGroup - 3]) + (x[kGroup - 2] + x[kGroup - 1]));
  }
  static __device__ __forceinline__ void store(char* to, const float (&x)[kGroup]) {
    if constexpr (Base::kFloat) {
      *reinterpret_cast<float4*>(to) = make_float4(x[0], x[1], x[2], x[3]);
    } else {
      uint4 v;
      v.x = vt_pack<T>(x[0], x[1]), v.y = vt_pack<T>(x[2], x[3]);
      v.z = vt_pack<T>(x[kGroup - 4], x[kGroup - 3]), v.w = vt_pack<T>(x[kGroup - 2], x[kGroup - 1]);
      *reinterpret_cast<uint4*>(to) = v;
    }
  }

  static __device__ __forceinline__ void normalize(char* memory, float eps) {
    const int first = threadIdx.x / Base::kColsA, col = threadIdx.x % Base::kColsA * kGroup;
#pragma unroll 1
    for (int i = 0; i < kRowsA; i += kAtOnce) {
      float x[kAtOnce][kSteps][kGroup], mean[kAtOnce], inverse[kAtOnce];
      char* at[kAtOnce];
#pragma unroll
      for (int r = 0; r < kAtOnce; ++r) {
        at[r] = memory + Base::at_a(first + (i + r) * Base::kStepA, col);
        float part[kGroup];
        vt_fill<kGroup>(0.0f, part);
#pragma unroll
        for (int s = 0; s < kSteps; ++s) {
          vt_load<kGroup>(reinterpret_cast<const T*>(at[r] + s * Base::kBytesA), x[r][s]);
#pragma unroll
          for (int e = 0; e < kGroup; ++e) part[e] += x[r][s][e];
        }
        mean[r] = sum_of(part);
      }
#pragma unroll
      for (int r = 0; r < kAtOnce; ++r) mean[r] = row_sum(mean[r]) * (1.0f / Cfg::K);
#pragma unroll
      for (int r = 0; r < kAtOnce; ++r) {
        float part[kGroup];
        vt_fill<kGroup>(0.0f, part);
#pragma unroll
        for (int s = 0; s < kSteps; ++s)
#pragma unroll
          for (int e = 0; e < kGroup; ++e) {
            // What fills the last step up stays zero.
            const bool inside = Cfg::K % BK == 0 || s * BK + col + e < Cfg::K;
            x[r][s][e] = inside ? x[r][s][e] - mean[r] : 0.0f;
            part[e] = fmaf(x[r][s][e], x[r][s][e], part[e]);
          }
        inverse[r] = sum_of(part);
      }
#pragma unroll
      for (int r = 0; r < kAtOnce; ++r) {
        const float variance = row_sum(inverse[r]) * (1.0f / Cfg::K) + eps;
        inverse[r] = Base::kFloat ? 1.0f / sqrtf(variance) : vt_rsqrt(variance);
      }
#pragma unroll
      for (int r = 0; r < kAtOnce; ++r)
#pragma unroll
        for (int s = 0; s < kSteps; ++s) {
#pragma unroll
          for (int e = 0; e < kGroup; ++e) x[r][s][e] *= inverse[r];
          store(at[r] + s * Base::kBytesA, x[r][s]);
        }
    }
  }

  // The tile's part of the shift, columns past the last as zeros, and two of its columns again.
  template <typename U> static __device__ __forceinline__ void fetch_shift(const U* shift, int n0, u32 to) {
    constexpr int kSize = sizeof(U), kMost = 16 / kSize;
    for (int c = threadIdx.x * kMost; c < BN; c += Base::kThreads * kMost) {
      const int left = Cfg::N - n0 - c, count = left < 0 ? 0 : left < kMost ? left : kMost;
      vt_copy16(to + c * kSize, shift + (count ? n0 + c : 0), count * kSize);
    }
  }
  template <typename U> static __device__ __forceinline__ void load_shift(const U*, const char* from, int c, float (&to)[2]) {
    vt_load<2>(reinterpret_cast<const U*>(from) + c, to);
  }

  /// `rows`: of A in all.
  static __device__ __forceinline__ void run(const Args& a, int rows, float eps) {
    extern __shared__ __align__(1024) char memory[];
    const u32 shared = vt_shared(memory), columns = shared + kBytesRows;
    constexpr int kShift = kBytesRows + S * Base::kBytesB;
    vt_trigger();
    constexpr int kTilesN = (Cfg::N + BN - 1) / BN;
    const int tile = vt_block(a), n0 = tile % kTilesN * BN, m0 = tile / kTilesN * BM;
    const int warp = threadIdx.x / 32, wm = warp % Cfg::WM, wn = warp / Cfg::WM;

    // Constants are fetched before the predecessor has ended.
#pragma unroll
    for (int s = 0; s < S - 1; ++s)
      if (s < kSteps) Base::load_b(a, 0, s * BK, n0, columns + s * Base::kBytesB);
    fetch_shift(a.in2, n0, shared + kShift);
    vt_wait();
    typename Cfg::Rows::Row row[kRowsA];
#pragma unroll
    for (int i = 0; i < kRowsA; ++i) {
      const int m = m0 + threadIdx.x / Base::kColsA + i * Base::kStepA;
      row[i] = Cfg::Rows::row(a, m < rows ? m : 0, m < rows);
    }
#pragma unroll
    for (int s = 0; s < kSteps; ++s) Base::load_a(a, row, s * BK, shared + s * Base::kBytesA);
    vt_commit();
    vt_wait_copies<0>();
    normalize(memory, eps);
    if (Cfg::WIDE) vt_async_fence();
    __syncthreads();

    typename Base::Acc acc;
#pragma unroll
    for (int j = 0; j < Base::kN; ++j) {
      float v[2];
      load_shift(a.in2, memory + kShift, wn * Base::WTN + j * 8 + threadIdx.x % 4 * 2, v);
#pragma unroll
      for (int i = 0; i < Base::kM; ++i) acc[i][j][0] = acc[i][j][2] = v[0], acc[i][j][1] = acc[i][j][3] = v[1];
    }
    int slot = 0, next = S - 1;
    for (int step = 0; step < kSteps; ++step) {
      if (!kAll && step > 0) {
        vt_wait_copies<S - 2>();
        if (Cfg::WIDE) vt_async_fence();
        __syncthreads();
      }
      const u32 at = shared + step * Base::kBytesA, from = columns + slot * Base::kBytesB;
      if constexpr (Cfg::WIDE) Base::multiply_wide(acc, at, from, wm, wn);
      if (!kAll) {
        if (step + S - 1 < kSteps) Base::load_b(a, 0, (step + S - 1) * BK, n0, columns + next * Base::kBytesB);
        vt_commit();
      }
      if constexpr (Cfg::WIDE) {
        if (!kAll || step + 1 == kSteps) vt_wide_wait(acc[0]);
      } else if constexpr (Base::kFloat) {
        Base::multiply32(acc, at, from, wm, wn);
      } else {
        Base::multiply16(acc, at, from, wm, wn);
      }
      slot = slot + 1 == S ? 0 : slot + 1;
      next = next + 1 == S ? 0 : next + 1;
    }
    Base::finish_direct(acc, a, 0, m0 + wm * Base::WTM, n0 + wn * Base::WTN, rows);
  }
};
