// SPDX-License-Identifier: Apache-2.0
// softmax(scale q k^T) v in one pass over the keys (online softmax as in FlashAttention-2, Dao 2023):
// scores, statistics and sums in float32, products of 16-bit operands on tensor cores.
//
// Cfg: T; D, DV head sizes, DP, DVP rounded up to 16; WQ warps of 16 queries each; WK warps that
// share the keys of each step, whose results are joined in the order of the warps; BC keys of a warp
// and step; NEGATIVE: of the scale, whose amount times log2(e) scale() is; VQ, VK, VV elements of one copy; q, k, v (a, batch): element (0, 0) of a batch index; QS, KS,
// VS(a): row strides.
template <class Cfg> struct Attention {
  typedef typename Cfg::T T;
  static constexpr int kThreads = 32 * Cfg::WQ * Cfg::WK, kQueries = 16 * Cfg::WQ, kKeys = Cfg::BC * Cfg::WK;
  static constexpr int DP = Cfg::DP, DVP = Cfg::DVP, BC = Cfg::BC;
  // Rows of 16-byte chunks plus one: eight rows of a chunk lie in eight groups of banks.
  static constexpr int kRow = (DP + 8) * 2, kRowV = (DVP + 8) * 2;
  static constexpr int kStage = kKeys * (kRow + kRowV), kBytesQ = kQueries * kRow;
  static constexpr int kPitch = DVP + 4;

  template <int V, int Rows, int Cols, int Extent>
  static __device__ __forceinline__ void load(const T* from, int stride, int rows, u32 to, int row_bytes) {
    constexpr int kCols = Cols / V;
    for (int i = threadIdx.x; i < Rows * kCols; i += kThreads) {
      const int r = i / kCols, c = i % kCols * V;
      const int count = r < rows && c < Extent ? (Extent - c < V ? Extent - c : V) : 0;
      vt_copy<V * 2>(to + r * row_bytes + c * 2, from + (count ? r * (long long)stride + c : 0), count * 2);
    }
  }
  static __device__ __forceinline__ void load_keys(const Args& a, int batch, int first, int keys, u32 to) {
    load<Cfg::VK, kKeys, DP, Cfg::D>(Cfg::k(a, batch) + (long long)first * Cfg::KS(a), Cfg::KS(a), keys - first, to, kRow);
    load<Cfg::VV, kKeys, DVP, Cfg::DV>(Cfg::v(a, batch) + (long long)first * Cfg::VS(a), Cfg::VS(a), keys - first, to + kKeys * kRow, kRowV);
  }

  static __device__ __forceinline__ void run(const Args& a, int queries, int keys) {
    extern __shared__ __align__(128) char memory[];
    const u32 q_at = vt_shared(memory), kv_at = q_at + kBytesQ;
    vt_trigger();
    const int tiles = (queries + kQueries - 1) / kQueries, batch = vt_block(a) / tiles, q0 = (vt_block(a) - batch * tiles) * kQueries;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, wq = warp % Cfg::WQ, wk = warp / Cfg::WQ;
    const int steps = (keys + kKeys - 1) / kKeys;
    vt_wait();
    load<Cfg::VQ, kQueries, DP, Cfg::D>(Cfg::q(a, batch) + (long long)q0 * Cfg::QS(a), Cfg::QS(a), queries - q0, q_at, kRow);
    load_keys(a, batch, 0, keys, kv_at);
    vt_commit();

    u32 q[DP / 16][4];
    float out[DVP / 8][4], most[2] = {-vt_infinity(), -vt_infinity()}, total[2] = {0, 0};
#pragma unroll
    for (int j = 0; j < DVP / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) out[j][e] = 0;
    for (int step = 0; step < steps; ++step) {
      vt_wait_copies<0>();
      __syncthreads();
      // Into what every warp has read by now.
      if (step + 1 < steps) load_keys(a, batch, (step + 1) * kKeys, keys, kv_at + (step + 1) % 2 * kStage);
      vt_commit();
      if (step == 0)
#pragma unroll
        for (int i = 0; i < DP / 16; ++i) vt_ldmatrix4(q[i], q_at + (wq * 16 + lane % 16) * kRow + (i * 16 + lane / 16 * 8) * 2);
      const u32 k_at = kv_at + step % 2 * kStage + wk * BC * kRow, v_at = kv_at + step % 2 * kStage + kKeys * kRow + wk * BC * kRowV;
      const int key0 = step * kKeys + wk * BC;
      if (key0 < keys) {
        float s[BC / 8][4];
#pragma unroll
        for (int j = 0; j < BC / 8; ++j)
#pragma unroll
          for (int e = 0; e < 4; ++e) s[j][e] = 0;
#pragma unroll
        for (int i = 0; i < DP / 16; ++i)
#pragma unroll
          for (int j = 0; j < BC / 16; ++j) {
            u32 k[4];
            vt_ldmatrix4(k, k_at + (j * 16 + lane / 16 * 8 + lane % 8) * kRow + (i * 16 + lane / 8 % 2 * 8) * 2);
            vt_mma<T>(s[2 * j], q[i], k[0], k[1]);
            vt_mma<T>(s[2 * j + 1], q[i], k[2], k[3]);
          }
        // Keys past the end count as minus infinity.
        if (key0 + BC > keys)
#pragma unroll
          for (int j = 0; j < BC / 8; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e)
              if (key0 + j * 8 + lane % 4 * 2 + e % 2 >= keys) s[j][e] = Cfg::NEGATIVE ? vt_infinity() : -vt_infinity();
        float high[2] = {most[0], most[1]};
#pragma unroll
        for (int j = 0; j < BC / 8; ++j)
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            if (Cfg::NEGATIVE) s[j][e] = -s[j][e];
            high[e / 2] = vt_max_exact(high[e / 2], s[j][e]);
          }
        float scaled[2];
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          high[h] = vt_max_exact(high[h], __shfl_xor_sync(0xffffffffu, high[h], 1));
          high[h] = vt_max_exact(high[h], __shfl_xor_sync(0xffffffffu, high[h], 2));
          scaled[h] = high[h] * Cfg::scale();
          const float shrink = vt_exp2(fmaf(most[h], Cfg::scale(), -scaled[h]));
          most[h] = high[h];
          total[h] *= shrink;
#pragma unroll
          for (int j = 0; j < DVP / 8; ++j) out[j][2 * h] *= shrink, out[j][2 * h + 1] *= shrink;
        }
#pragma unroll
        for (int j = 0; j < BC / 8; ++j)
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            s[j][e] = vt_exp2(fmaf(s[j][e], Cfg::scale(), -scaled[e / 2]));
            total[e / 2] += s[j][e];
          }
#pragma unroll
        for (int j = 0; j < BC / 16; ++j) {
          const u32 p[4] = {vt_pack<T>(s[2 * j][0], s[2 * j][1]), vt_pack<T>(s[2 * j][2], s[2 * j][3]),
                            vt_pack<T>(s[2 * j + 1][0], s[2 * j + 1][1]), vt_pack<T>(s[2 * j + 1][2], s[2 * j + 1][3])};
#pragma unroll
          for (int i = 0; i < DVP / 16; ++i) {
            u32 v[4];
            vt_ldmatrix4_transposed(v, v_at + (j * 16 + lane % 16) * kRowV + (i * 16 + lane / 16 * 8) * 2);
            vt_mma<T>(out[2 * i], p, v[0], v[1]);
            vt_mma<T>(out[2 * i + 1], p, v[2], v[3]);
          }
        }
      }
    }
    __syncthreads();
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      total[h] += __shfl_xor_sync(0xffffffffu, total[h], 1);
      total[h] += __shfl_xor_sync(0xffffffffu, total[h], 2);
    }
    float* o = reinterpret_cast<float*>(memory);                   // [WK][kQueries][kPitch]
    float* stats = o + Cfg::WK * kQueries * kPitch;                // [WK][kQueries][2]
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int r = wk * kQueries + wq * 16 + h * 8 + lane / 4;
#pragma unroll
      for (int j = 0; j < DVP / 8; ++j)
        *reinterpret_cast<float2*>(o + r * kPitch + j * 8 + lane % 4 * 2) = make_float2(out[j][2 * h], out[j][2 * h + 1]);
      if (lane % 4 == 0) stats[2 * r] = most[h] * Cfg::scale(), stats[2 * r + 1] = total[h];
    }
    __syncthreads();
    constexpr int V = Tail::V, kCols = (Cfg::DV + V - 1) / V;
    for (int i = threadIdx.x; i < kQueries * kCols; i += kThreads) {
      const int r = i / kCols, c = i % kCols * V;
      if (q0 + r >= queries) break;
      float x[V], high = -vt_infinity(), sum = 0;
#pragma unroll
      for (int w = 0; w < Cfg::WK; ++w) high = vt_max_exact(high, stats[2 * (w * kQueries + r)]);
      vt_fill<V>(0.0f, x);
#pragma unroll
      for (int w = 0; w < Cfg::WK; ++w) {
        const float m = stats[2 * (w * kQueries + r)];
        const float factor = m == -vt_infinity() ? 0.0f : vt_exp2(m - high);
        sum += factor * stats[2 * (w * kQueries + r) + 1];
        float part[V];
        vt_load<V>(o + (w * kQueries + r) * kPitch + c, part);
#pragma unroll
        for (int v = 0; v < V; ++v) x[v] += factor * part[v];
      }
      const float inverse = 1.0f / sum;
#pragma unroll
      for (int v = 0; v < V; ++v) x[v] *= inverse;
      vt_finish<Tail>(a, batch * queries + q0 + r, c, Cfg::DV, x);
    }
  }
};
