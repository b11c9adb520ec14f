// SPDX-License-Identifier: Apache-2.0
// The second launch of a Gram matrix: parts of kPart floats, an element's place in them alike in all, are added in
// float64 in order. 32 elements a block; each warp reads all its parts at once.
//
// Form: kPart; place(at, i, j): the element, false if it is none that is wanted. Cfg: PARTS that are usual; C;
// store(a, element, x).
template <class Form, class Cfg> struct GramAdd {
  static constexpr int kWarps = 16, kEach = (Cfg::PARTS + kWarps - 1) / kWarps;

  static __device__ __forceinline__ void run(const Args& a, int parts) {
    __shared__ double shares[kWarps][33];
    vt_trigger();
    constexpr int kPart = Form::kPart, kBlocks = kPart / 32;
    const int batch = (int)blockIdx.x / kBlocks, first = (int)blockIdx.x % kBlocks * 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const float* in = reinterpret_cast<const float*>(a.workspace) + (long long)batch * parts * kPart + first + lane;
    vt_wait();
    double sum = 0;
#pragma unroll 1
    for (int p = warp; p < parts; p += kEach * kWarps) {
      float x[kEach];
#pragma unroll
      for (int k = 0; k < kEach; ++k) x[k] = p + k * kWarps < parts ? in[(long long)(p + k * kWarps) * kPart] : 0.0f;
#pragma unroll
      for (int k = 0; k < kEach; ++k) sum += (double)x[k];
    }
    shares[warp][lane] = sum;
    __syncthreads();
    // Sixteen lanes an element.
    const int share = threadIdx.x % kWarps, element = threadIdx.x / kWarps;
    sum = shares[share][element];
#pragma unroll
    for (int i = 1; i < kWarps; i *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, i);
    int i, j;
    if (!Form::place(first + element, i, j) || share > 1) return;
    Cfg::store(a, share == 0 ? (batch * Cfg::C + i) * Cfg::C + j : (batch * Cfg::C + j) * Cfg::C + i, (float)sum);
  }
};
