// SPDX-License-Identifier: Apache-2.0
// The matrix of spectral attention from a Gram matrix, float64 inside, in two launches over as many blocks as there
// is work for: a multiprocessor adds 64 products of float64 a cycle and converts 16 numbers, so that one block a
// head would take a hundred microseconds.
//
// Cfg: C, O channels in and out, H heads of D columns; J columns of a block of the first launch, RB rows of one of
// the second; SPLIT blocks that share the heads; STAGED: the projection's weights fit in shared memory; g(a, image, i, j), wq(a, i, j), wk, wv, proj,
// rescale(a, head) as floats; eps(); store(a, image, i, j, x).
template <class Cfg> struct Spectral {
  static constexpr int C = Cfg::C, O = Cfg::O, H = Cfg::H, D = Cfg::D, W = H * D, J = Cfg::J, RB = Cfg::RB, kThreads = 512;
  static constexpr int kGroups = (D + J - 1) / J;
  // Threads along a row; the others take parts of the sums.
  static __device__ constexpr int across(int n) { return n <= 32 ? 32 : n <= 64 ? 64 : n <= 128 ? 128 : n <= 256 ? 256 : 512; }
  static constexpr int kParts = kThreads / across(C), kPartsO = kThreads / across(O);
  // Lanes that share the sum of one of n elements.
  static __device__ constexpr int lanes(int n) { return n * 16 <= kThreads ? 16 : n * 8 <= kThreads ? 8 : n * 4 <= kThreads ? 4 : 1; }
  // Elements of a column of G on the way to a thread: with more, registers leave no room beside the launch ahead.
  static constexpr int kAhead = (C + kParts - 1) / kParts < 16 ? (C + kParts - 1) / kParts : 16;
  // Of an image in the workspace: scores over |k|, then 1 / |q|.
  static constexpr int kScores = H * D * D, kPerImage = kScores + W;

  static __device__ __forceinline__ double sum_of_warp(double x) {
#pragma unroll
    for (int i = 16; i > 0; i /= 2) x += __shfl_xor_sync(0xffffffffu, x, i);
    return x;
  }

  // J columns i of k and q: u = (column)^T G, then rescale * u_k . Wq / |k_i| for the head's columns of q.
  static __device__ __forceinline__ void scores(const Args& a) {
    extern __shared__ double shared[];
    double *own = shared, *all = own + C * 2 * J, *sums = all + C * D;
    __shared__ double scale[J];
    vt_trigger();
    const int head = (int)blockIdx.x / kGroups, first = (int)blockIdx.x % kGroups * J, image = blockIdx.y;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (int e = threadIdx.x; e < C * 2 * J; e += kThreads) {
      const int l = e / (2 * J), j = e % (2 * J), col = first + j % J;
      own[e] = col < D ? (double)(j < J ? Cfg::wq(a, l, head * D + col) : Cfg::wk(a, l, head * D + col)) : 0.0;
    }
    for (int e = threadIdx.x; e < C * D; e += kThreads) all[e] = (double)Cfg::wq(a, e / D, head * D + e % D);
    __syncthreads();
    vt_wait();
    const int part = threadIdx.x / across(C);
    for (int r = threadIdx.x % across(C); r < C; r += across(C)) {
      double u[2 * J];
#pragma unroll
      for (int j = 0; j < 2 * J; ++j) u[j] = 0;
#pragma unroll 1
      for (int l0 = part; l0 < C; l0 += kParts * kAhead) {
        float g[kAhead];
#pragma unroll
        for (int k = 0; k < kAhead; ++k) g[k] = l0 + k * kParts < C ? Cfg::g(a, image, l0 + k * kParts, r) : 0.0f;
#pragma unroll
        for (int k = 0; k < kAhead; ++k) {
          const double x = (double)g[k];  // zero beyond C
          const int l = l0 + k * kParts < C ? l0 + k * kParts : C - 1;
#pragma unroll
          for (int j = 0; j < 2 * J; ++j) u[j] = fma(own[l * 2 * J + j], x, u[j]);
        }
      }
#pragma unroll
      for (int j = 0; j < 2 * J; ++j) sums[(part * 2 * J + j) * C + r] = u[j];
    }
    __syncthreads();
    for (int e = threadIdx.x; e < 2 * J * C; e += kThreads) {
      double sum = sums[e];
#pragma unroll
      for (int p = 1; p < kParts; ++p) sum += sums[p * 2 * J * C + e];
      sums[e] = sum;
    }
    __syncthreads();
    double* to = reinterpret_cast<double*>(a.workspace) + (long long)image * kPerImage;
    if (warp < 2 * J) {
      double sum = 0;
      for (int r = lane; r < C; r += 32) sum = fma(sums[warp * C + r], own[r * 2 * J + warp], sum);
      sum = sum_of_warp(sum);
      const double norm = fmax(sqrt(fmax(sum, 0.0)), Cfg::eps());
      const int col = first + warp % J;
      if (lane == 0 && warp < J && col < D) to[kScores + head * D + col] = 1.0 / norm;
      if (lane == 0 && warp >= J) scale[warp - J] = (double)Cfg::rescale(a, head) / norm;
    }
    __syncthreads();
    constexpr int kLanes = lanes(J * D);
#pragma unroll 1
    for (int e0 = 0; e0 < J * D; e0 += kThreads / kLanes) {
      const int e = e0 + threadIdx.x / kLanes, i = e / D, j = e % D;
      double sum = 0;
      if (i < J)
#pragma unroll 4
        for (int r = threadIdx.x % kLanes; r < C; r += kLanes) sum = fma(sums[(J + i) * C + r], all[r * D + j], sum);
#pragma unroll
      for (int lane = 1; lane < kLanes; lane *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, lane);
      if (threadIdx.x % kLanes == 0 && i < J && first + i < D) to[(head * D + first + i) * D + j] = sum * scale[i];
    }
  }

  // RB rows of Wv blockdiag(A^T) Wproj, A the rows' softmax. With SPLIT > 1 a block has the share of H / SPLIT heads,
  // and the blocks of a cluster add theirs in order.
  static __device__ __forceinline__ void project(const Args& a) {
    extern __shared__ double shared[];
    constexpr int S = Cfg::SPLIT, HB = H / S, WB = HB * D, kOwn = HB * D * D, kWarps = kThreads / 32;
    double *attention = shared, *rows = attention + kOwn, *mixed = rows + RB * WB, *sums = mixed + RB * WB;
    float* weights = reinterpret_cast<float*>(sums + kPartsO * RB * O);
    vt_trigger();
    const int rank = (int)blockIdx.x % S, first = (int)blockIdx.x / S * RB, image = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int col0 = rank * WB;
    for (int e = threadIdx.x; e < RB * WB; e += kThreads) {
      const int i = first + e / WB;
      rows[e] = i < C ? (double)Cfg::wv(a, i, col0 + e % WB) : 0.0;
    }
    if (Cfg::STAGED)
#pragma unroll 8
      for (int e = threadIdx.x; e < WB * O; e += kThreads) weights[e] = Cfg::proj(a, col0 + e / O, e % O);
    vt_wait();
    const double* from = reinterpret_cast<const double*>(a.workspace) + (long long)image * kPerImage;
#pragma unroll 8
    for (int e = threadIdx.x; e < kOwn; e += kThreads) attention[e] = from[rank * kOwn + e] * from[kScores + col0 + e / (D * D) * D + e % D];
    __syncthreads();
    const double least = __longlong_as_double(0xfff0000000000000ll);
    if (D <= 32) {
      // Two rows of a warp at a time, without branches between them.
#pragma unroll 2
      for (int k = 0; k < (WB + kWarps - 1) / kWarps; ++k) {
        const int row = warp + k * kWarps;
        const bool own = row < WB && lane < D;
        const double x = own ? attention[row * D + lane] : least;
        double most = x;
#pragma unroll
        for (int i = 16; i > 0; i /= 2) most = fmax(most, __shfl_xor_sync(0xffffffffu, most, i));
        const double y = own ? exp(x - most) : 0.0, inverse = 1.0 / sum_of_warp(y);
        if (own) attention[row * D + lane] = y * inverse;
      }
    } else {
      for (int row = warp; row < WB; row += kWarps) {
        double* at = attention + row * D;
        double most = least, sum = 0;
        for (int j = lane; j < D; j += 32) most = fmax(most, at[j]);
#pragma unroll
        for (int i = 16; i > 0; i /= 2) most = fmax(most, __shfl_xor_sync(0xffffffffu, most, i));
        for (int j = lane; j < D; j += 32) sum += at[j] = exp(at[j] - most);
        const double inverse = 1.0 / sum_of_warp(sum);
        for (int j = lane; j < D; j += 32) at[j] *= inverse;
      }
    }
    __syncthreads();
    constexpr int kLanes = lanes(RB * WB);
#pragma unroll 1
    for (int e0 = 0; e0 < RB * WB; e0 += kThreads / kLanes) {
      const int e = e0 + threadIdx.x / kLanes, i = e / WB, col = e % WB, head = col / D;
      double sum = 0;
      if (e < RB * WB)
#pragma unroll 8
        for (int j = threadIdx.x % kLanes; j < D; j += kLanes) sum = fma(rows[i * WB + head * D + j], attention[col * D + j], sum);
#pragma unroll
      for (int other = 1; other < kLanes; other *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, other);
      if (e < RB * WB && threadIdx.x % kLanes == 0) mixed[e] = sum;
    }
    __syncthreads();
    const int part = threadIdx.x / across(O);
    for (int j = threadIdx.x % across(O); j < O; j += across(O)) {
      double sum[RB];
#pragma unroll
      for (int i = 0; i < RB; ++i) sum[i] = 0;
#pragma unroll 8
      for (int l = part; l < WB; l += kPartsO) {
        const double w = (double)(Cfg::STAGED ? weights[l * O + j] : Cfg::proj(a, col0 + l, j));
#pragma unroll
        for (int i = 0; i < RB; ++i) sum[i] = fma(mixed[i * WB + l], w, sum[i]);
      }
#pragma unroll
      for (int i = 0; i < RB; ++i) sums[(part * RB + i) * O + j] = sum[i];
    }
    __syncthreads();
    for (int e = threadIdx.x; e < RB * O; e += kThreads) {
      double sum = sums[e];
#pragma unroll
      for (int p = 1; p < kPartsO; ++p) sum += sums[p * RB * O + e];
      if (S > 1)
        sums[e] = sum;
      else if (first + e / O < C)
        Cfg::store(a, image, first + e / O, e % O, (float)sum);
    }
    if (S == 1) return;
    // The barriers want whole warps, and wait for what is stored: so results are stored behind the second, without
    // which a block could end before the others have read its share.
    __syncwarp();
    vt_cluster_sync();
    constexpr int kMine = ((RB * O + S - 1) / S + kThreads - 1) / kThreads;
    const int begin = rank * RB * O / S + threadIdx.x, end = (rank + 1) * RB * O / S;
    float result[kMine];
#pragma unroll
    for (int k = 0; k < kMine; ++k) {
      const int e = begin + k * kThreads < end ? begin + k * kThreads : 0;
      double share[S], sum = 0;
#pragma unroll
      for (int other = 0; other < S; ++other) share[other] = vt_load_cluster_double(vt_shared(sums + e), other);
#pragma unroll
      for (int other = 0; other < S; ++other) sum += share[other];
      result[k] = (float)sum;
    }
    __syncwarp();
    vt_cluster_sync();
#pragma unroll
    for (int k = 0; k < kMine; ++k) {
      const int e = begin + k * kThreads;
      if (e < end && first + e / O < C) Cfg::store(a, image, first + e / O, e % O, result[k]);
    }
  }
};
