// SPDX-License-Identifier: Apache-2.0
// Device helpers of every generated source. No header of the toolkit is included, so that NVRTC
// alone is enough.
typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;
struct f16 { u16 bits; };
struct bf16 { u16 bits; };
template <typename T> struct vt_is_float { static constexpr bool value = false; };
template <> struct vt_is_float<float> { static constexpr bool value = true; };

// --- entries; a joint launch defines these three anew (kernels/cuda/joint.h)
#define VT_ENTRY(...) extern "C" __global__ void __launch_bounds__(__VA_ARGS__)
#define VT_FIRST_PARAMETER
#define VT_FIRST 0
// Number of the block among those of its kernel, along x.
#define vt_block(a) ((int)blockIdx.x - (a).first_block)

// --- order of launches (programmatic dependent launch); without it these do nothing
__device__ __forceinline__ void vt_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ __forceinline__ void vt_trigger() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// --- conversions, to nearest even
__device__ __forceinline__ float vt_float(float x) { return x; }
__device__ __forceinline__ float vt_float(f16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
__device__ __forceinline__ float vt_float(bf16 x) { return __uint_as_float((u32)x.bits << 16); }
template <typename T> __device__ __forceinline__ T vt_to(float x);
template <> __device__ __forceinline__ float vt_to<float>(float x) { return x; }
template <> __device__ __forceinline__ f16 vt_to<f16>(float x) {
  f16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
template <> __device__ __forceinline__ bf16 vt_to<bf16>(float x) {
  bf16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
/// Two values in one register, `low` in the lower half.
template <typename T> __device__ __forceinline__ u32 vt_pack(float low, float high);
template <> __device__ __forceinline__ u32 vt_pack<f16>(float low, float high) {
  u32 y;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}
template <> __device__ __forceinline__ u32 vt_pack<bf16>(float low, float high) {
  u32 y;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}

// --- V adjacent elements to and from float registers; V * sizeof(T) divides the address
template <int Bytes> struct vt_bits;
template <> struct vt_bits<2> { typedef u16 type; };
template <> struct vt_bits<4> { typedef u32 type; };
template <> struct vt_bits<8> { typedef uint2 type; };
template <> struct vt_bits<16> { typedef uint4 type; };
template <int V, typename T> __device__ __forceinline__ void vt_load(const T* from, float (&to)[V]) {
  constexpr int kBytes = V * (int)sizeof(T), kStep = kBytes < 16 ? kBytes : 16, kCount = kStep / (int)sizeof(T);
  union { typename vt_bits<kStep>::type bits; T elements[kCount]; } u;
#pragma unroll
  for (int j = 0; j < V; j += kCount) {
    u.bits = *reinterpret_cast<const typename vt_bits<kStep>::type*>(from + j);
#pragma unroll
    for (int i = 0; i < kCount; ++i) to[j + i] = vt_float(u.elements[i]);
  }
}
template <int V, typename T> __device__ __forceinline__ void vt_store(T* to, const float (&from)[V]) {
  constexpr int kBytes = V * (int)sizeof(T), kStep = kBytes < 16 ? kBytes : 16, kCount = kStep / (int)sizeof(T);
  union { typename vt_bits<kStep>::type bits; T elements[kCount]; } u;
#pragma unroll
  for (int j = 0; j < V; j += kCount) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) u.elements[i] = vt_to<T>(from[j + i]);
    *reinterpret_cast<typename vt_bits<kStep>::type*>(to + j) = u.bits;
  }
}
template <int V, typename T> __device__ __forceinline__ void vt_load_strided(const T* from, int stride, float (&to)[V]) {
#pragma unroll
  for (int i = 0; i < V; ++i) to[i] = vt_float(from[i * stride]);
}
template <int V, typename T> __device__ __forceinline__ void vt_store_strided(T* to, int stride, const float (&from)[V]) {
#pragma unroll
  for (int i = 0; i < V; ++i) to[i * stride] = vt_to<T>(from[i]);
}
template <int V> __device__ __forceinline__ void vt_fill(float x, float (&to)[V]) {
#pragma unroll
  for (int i = 0; i < V; ++i) to[i] = x;
}
/// The tail on columns col.. of a row of n: V at once where they or the row's spare elements fit, else
/// one by one.
template <class Tail, class Args, int V>
__device__ __forceinline__ void vt_finish(const Args& a, int row, int col, int n, float (&x)[V]) {
  if (V > 1 && V <= Tail::V && col + V <= n + Tail::SPARE) {
    Tail::template finish<V>(a, row, col, x);
    return;
  }
#pragma unroll
  for (int i = 0; i < V; ++i)
    if (col + i < n) {
      float one[1] = {x[i]};
      Tail::template finish<1>(a, row, col + i, one);
    }
}

/// The tail on a tile of TY x TX pixels in shared memory, rows of Pitch floats that are columns first.. of N: up to four pieces
/// of a thread at once, so that what the tail reads for them is on its way together.
template <class Tail, int TY, int TX, int Columns, int Pitch, int N, int Threads, class Args>
__device__ __forceinline__ void vt_finish_tile(const Args& a, const float* tile, int image, int top, int left, int height, int width, int first) {
  constexpr int V = Tail::V, kAcross = (Columns + V - 1) / V, kPieces = TY * TX * kAcross;
  constexpr int kRounds = (kPieces + Threads - 1) / Threads, kTogether = kRounds < 4 ? kRounds : 4;
  constexpr bool kWhole = (N + V - 1) / V * V <= N + Tail::SPARE;
  for (int begin = threadIdx.x; begin < kPieces; begin += kTogether * Threads) {
    int row[kTogether], col[kTogether];
    float x[kTogether][V];
#pragma unroll
    for (int r = 0; r < kTogether; ++r) {
      const int i = begin + r * Threads, p = i / kAcross, c = i % kAcross * V, h = top + p / TX, w = left + p % TX;
      const bool real = i < kPieces && h < height && w < width && first + c < N;
      row[r] = real ? (image * height + h) * width + w : -1, col[r] = first + c;
      vt_load<V>(tile + (real ? p * Pitch + c : 0), x[r]);
    }
    if constexpr (kWhole) {
      Tail::template finish_some<V>(a, row, col, x);
    } else {
#pragma unroll
      for (int r = 0; r < kTogether; ++r)
        if (row[r] >= 0) vt_finish<Tail>(a, row[r], col[r], N, x[r]);
    }
  }
}

// --- reductions
__device__ __forceinline__ float vt_warp_sum(float x) {
#pragma unroll
  for (int i = 16; i > 0; i /= 2) x += __shfl_xor_sync(0xffffffffu, x, i);
  return x;
}
// NaN wins, as in the references.
__device__ __forceinline__ float vt_max_nan(float a, float b) { return a != a || a > b ? a : b; }
__device__ __forceinline__ float vt_min_nan(float a, float b) { return a != a || a < b ? a : b; }
__device__ __forceinline__ float vt_warp_max(float x) {
#pragma unroll
  for (int i = 16; i > 0; i /= 2) x = vt_max_nan(x, __shfl_xor_sync(0xffffffffu, x, i));
  return x;
}

// --- asynchronous copies to shared memory; `bytes` below 16: the rest becomes zero
__device__ __forceinline__ u32 vt_shared(const void* p) { return (u32)__cvta_generic_to_shared(p); }
__device__ __forceinline__ void vt_copy16(u32 to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
__device__ __forceinline__ void vt_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> __device__ __forceinline__ void vt_wait_copies() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

// --- pointwise instructions (src/base/pointwise.h defines them)
__device__ __forceinline__ float vt_min(float a, float b) { return a != a ? a : (b != b ? b : fminf(a, b)); }
__device__ __forceinline__ float vt_max(float a, float b) { return a != a ? a : (b != b ? b : fmaxf(a, b)); }
__device__ __forceinline__ float vt_pow(float a, float b) { return powf(a, b); }
__device__ __forceinline__ float vt_abs(float a) { return fabsf(a); }
__device__ __forceinline__ float vt_exp(float a) { return expf(a); }
__device__ __forceinline__ float vt_log(float a) { return logf(a); }
__device__ __forceinline__ float vt_sqrt(float a) { return sqrtf(a); }
__device__ __forceinline__ float vt_reciprocal(float a) { return 1.0f / a; }
__device__ __forceinline__ float vt_erf(float a) { return erff(a); }
__device__ __forceinline__ float vt_tanh(float a) { return tanhf(a); }
__device__ __forceinline__ float vt_sigmoid(float a) { return 1.0f / (1.0f + expf(-a)); }
__device__ __forceinline__ float vt_relu(float a) { return a < 0 ? 0.0f : a; }
__device__ __forceinline__ float vt_floor(float a) { return floorf(a); }
__device__ __forceinline__ float vt_ceil(float a) { return ceilf(a); }
__device__ __forceinline__ float vt_round(float a) { return rintf(a); }
__device__ __forceinline__ float vt_sin(float a) { return sinf(a); }
__device__ __forceinline__ float vt_cos(float a) { return cosf(a); }
__device__ __forceinline__ float vt_swish(float a, float scale) { return a / (1.0f + expf(-scale * a)); }
__device__ __forceinline__ float vt_gelu(float a) { return 0.5f * a * (1.0f + erff(a * 0.70710678118654752f)); }
__device__ __forceinline__ float vt_gelu_tanh(float a) {
  return 0.5f * a * (1.0f + tanhf(0.79788456080286536f * (a + 0.044715f * a * a * a)));
}
__device__ __forceinline__ float vt_leaky_relu(float a, float slope) { return a >= 0 ? a : slope * a; }

// 2^x to 2 ulp; results below the least normal number become zero.
__device__ __forceinline__ float vt_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// 1 / sqrt(x) to 2 ulp.
__device__ __forceinline__ float vt_rsqrt(float x) {
  float y;
  asm("rsqrt.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// The larger, NaN if either is.
__device__ __forceinline__ float vt_max_exact(float a, float b) {
  float y;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
}

// --- for results that are rounded to 16 bits: errors of a few units of float32, without the branches that
// division and exp need for the last one. Where many elements are unrolled, their instructions count: a launch
// runs its code from a cold cache.
__device__ __forceinline__ float vt_sigmoid_half(float a) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(1.0f + vt_exp2(a * -1.4426950408889634f)));
  return y;
}
__device__ __forceinline__ float vt_swish_half(float a, float scale) { return a * vt_sigmoid_half(scale * a); }
// 1 + tanh(u) = 2 sigmoid(2 u).
__device__ __forceinline__ float vt_gelu_tanh_half(float a) {
  return a * vt_sigmoid_half(1.5957691216057308f * (a + 0.044715f * a * a * a));
}
// gelu(x) = max(x, 0) - t Q(t) with t = |x| and Q the upper tail of the normal distribution, whose logarithm
// is so smooth that a polynomial of degree 6 errs by a sixtieth of half a float16's unit everywhere (fitted
// on t <= 5.5; t Q(t) is below the least float16 from there on).
__device__ __forceinline__ float vt_gelu_half(float x) {
  const float t = fminf(fabsf(x), 6.0f);
  float p = 3.298195588e-05f;
  p = fmaf(p, t, -7.550110458e-04f);
  p = fmaf(p, t, 7.972460240e-03f);
  p = fmaf(p, t, -5.311596021e-02f);
  p = fmaf(p, t, -4.591065645e-01f);
  p = fmaf(p, t, -1.151062489e+00f);
  p = fmaf(p, t, -1.000006199e+00f);
  return fmaf(-t, vt_exp2(p), vt_max_exact(x, 0.0f));
}
// The same of degree 5, for what is rounded to 16 bits and then summed by many: it errs by a seventh of a
// float16's unit at most. Its leading coefficient is below zero, so that no |x| need be kept from it. The first
// two coefficients cannot both be immediates, and a move for each value would cost a tenth: `first` is kept.
__device__ __forceinline__ float vt_gelu_first() {
  float c;
  asm volatile("mov.f32 %0, 0fB9ACCE39;" : "=f"(c));  // -3.296004434e-04
  return c;
}
__device__ __forceinline__ float vt_gelu_inner(float x, float first) {
  const float t = fabsf(x);
  float p = fmaf(first, t, 5.912555847e-03f);
  p = fmaf(p, t, -4.851259664e-02f);
  p = fmaf(p, t, -4.637615085e-01f);
  p = fmaf(p, t, -1.149341345e+00f);
  p = fmaf(p, t, -1.000118613e+00f);
  return fmaf(-t, vt_exp2(p), vt_max_exact(x, 0.0f));
}
// The same of degree 3, six instructions instead of eight: it errs by at most 8.5e-5 |x| and 2.0e-4, a third of half a
// float16's unit of x. Rounding gelu(x) to float16 errs by some deviation; with this the deviation is 1.01 to 1.16 times
// that for normal x of deviations 0.02 to 4, and the same to 1 % for bfloat16.
__device__ __forceinline__ float vt_gelu_sum_first() {
  float c;
  asm volatile("mov.f32 %0, 0fBD00444A;" : "=f"(c));  // -3.131512403e-02
  return c;
}
__device__ __forceinline__ float vt_gelu_sum(float x, float first) {
  const float t = fabsf(x);
  float p = fmaf(first, t, -4.792025800e-01f);
  p = fmaf(p, t, -1.145410920e+00f);
  p = fmaf(p, t, -1.000243440e+00f);
  return fmaf(-t, vt_exp2(p), vt_max_exact(x, 0.0f));
}
