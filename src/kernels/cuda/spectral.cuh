// SPDX-License-Identifier: Apache-2.0
// The matrix of spectral attention from a Gram matrix, float64 inside, in two launches over as many blocks as there
// is work for: a multiprocessor adds 64 products of float64 a cycle and converts 16 numbers, so that one block a
// head would take a hundred microseconds.
//
// Cfg: C, O channels in and out, H heads of D columns; J columns of a block of the first launch, RB rows of one of
// the second; STAGED: the projection's weights fit in shared memory; g(a, image, i, j), wq(a, i, j), wk, wv, proj,
// rescale(a, head) as floats; eps(); store(a, image, i, j, x).
template <class Cfg> struct Spectral {
  static constexpr int C = Cfg::C, O = Cfg::O, H = Cfg::H, D = Cfg::D, W = H * D, J = Cfg::J, RB = Cfg::RB, kThreads = 512;
  static constexpr int kGroups = (D + J - 1) / J;
  // Threads along a row; the others take parts of the sums.
  static __device__ constexpr int across(int n) { return n <= 32 ? 32 : n <= 64 ? 64 : n <= 128 ? 128 : n <= 256 ? 256 : 512; }
  static constexpr int kParts = kThreads / across(C), kPartsO = kThreads / across(O);
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
#pragma unroll 16
      for (int l = part; l < C; l += kParts) {
        const double g = (double)Cfg::g(a, image, l, r);
#pragma unroll
        for (int j = 0; j < 2 * J; ++j) u[j] = fma(own[l * 2 * J + j], g, u[j]);
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
    // Four lanes an element.
    for (int e = threadIdx.x / 4; e < (J * D + 7) / 8 * 8; e += kThreads / 4) {
      const int i = e / D, j = e % D;
      double sum = 0;
      if (i < J)
#pragma unroll 4
        for (int r = threadIdx.x % 4; r < C; r += 4) sum = fma(sums[(J + i) * C + r], all[r * D + j], sum);
      sum += __shfl_xor_sync(0xffffffffu, sum, 1);
      sum += __shfl_xor_sync(0xffffffffu, sum, 2);
      if (threadIdx.x % 4 == 0 && i < J && first + i < D) to[(head * D + first + i) * D + j] = sum * scale[i];
    }
  }

  // RB rows of Wv blockdiag(A^T) Wproj, A the rows' softmax.
  static __device__ __forceinline__ void project(const Args& a) {
    extern __shared__ double shared[];
    double *attention = shared, *rows = attention + kScores, *mixed = rows + RB * W, *sums = mixed + RB * W;
    float* weights = reinterpret_cast<float*>(sums + kPartsO * RB * O);
    vt_trigger();
    const int first = (int)blockIdx.x * RB, image = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (int e = threadIdx.x; e < RB * W; e += kThreads) {
      const int i = first + e / W;
      rows[e] = i < C ? (double)Cfg::wv(a, i, e % W) : 0.0;
    }
    if (Cfg::STAGED)
#pragma unroll 8
      for (int e = threadIdx.x; e < W * O; e += kThreads) weights[e] = Cfg::proj(a, e / O, e % O);
    vt_wait();
    const double* from = reinterpret_cast<const double*>(a.workspace) + (long long)image * kPerImage;
#pragma unroll 8
    for (int e = threadIdx.x; e < kScores; e += kThreads) attention[e] = from[e] * from[kScores + e / (D * D) * D + e % D];
    __syncthreads();
#pragma unroll 4
    for (int row = warp; row < W; row += kThreads / 32) {
      double* at = attention + row * D;
      double most = __longlong_as_double(0xfff0000000000000ll), sum = 0;
      for (int j = lane; j < D; j += 32) most = fmax(most, at[j]);
#pragma unroll
      for (int i = 16; i > 0; i /= 2) most = fmax(most, __shfl_xor_sync(0xffffffffu, most, i));
      for (int j = lane; j < D; j += 32) sum += at[j] = exp(at[j] - most);
      const double inverse = 1.0 / sum_of_warp(sum);
      for (int j = lane; j < D; j += 32) at[j] *= inverse;
    }
    __syncthreads();
    for (int e = threadIdx.x; e < RB * W; e += kThreads) {
      const int i = e / W, col = e % W, head = col / D;
      double sum = 0;
#pragma unroll 8
      for (int j = 0; j < D; ++j) sum = fma(rows[i * W + head * D + j], attention[col * D + j], sum);
      mixed[e] = sum;
    }
    __syncthreads();
    const int part = threadIdx.x / across(O);
    for (int j = threadIdx.x % across(O); j < O; j += across(O)) {
      double sum[RB];
#pragma unroll
      for (int i = 0; i < RB; ++i) sum[i] = 0;
#pragma unroll 8
      for (int l = part; l < W; l += kPartsO) {
        const double w = (double)(Cfg::STAGED ? weights[l * O + j] : Cfg::proj(a, l, j));
#pragma unroll
        for (int i = 0; i < RB; ++i) sum[i] = fma(mixed[i * W + l], w, sum[i]);
      }
#pragma unroll
      for (int i = 0; i < RB; ++i) sums[(part * RB + i) * O + j] = sum[i];
    }
    __syncthreads();
    for (int e = threadIdx.x; e < RB * O; e += kThreads) {
      double sum = sums[e];
#pragma unroll
      for (int p = 1; p < kPartsO; ++p) sum += sums[p * RB * O + e];
      if (first + e / O < C) Cfg::store(a, image, first + e / O, e % O, (float)sum);
    }
  }
};
