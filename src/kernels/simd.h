// SPDX-License-Identifier: Apache-2.0
// Vectors of float32 for kernel bodies: the widest that the including file's ISA flags allow.
// Everything is in an anonymous namespace, because each ISA compiles the same bodies.
#pragma once
#if defined(__AVX2__)
#if defined(__clang__)
#include <immintrin.h>
#else
// GCC 12 warns falsely about its own "undefined" vectors (its bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif
#else
#include <emmintrin.h>
#endif

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/gelu_table.h"

namespace vitrail {
namespace {

#if defined(__AVX512F__)

struct Vec {
  static constexpr int kWidth = 16;
  __m512 v;
  static Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Vec all(float x) { return {_mm512_set1_ps(x)}; }
  static Vec zero() { return {_mm512_setzero_ps()}; }
  /// The first n elements (0 <= n <= kWidth), zero beyond; memory beyond them is not touched.
  static Vec load_first(const float* p, int n) {
    return {_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p)};
  }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  void store_first(float* p, int n) const {
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), v);
  }
  friend Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
  friend Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
  friend Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
  friend Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
};
/// All bits of each lane, or none.
struct Mask {
  __mmask16 v;
  friend Mask operator|(Mask a, Mask b) { return {static_cast<__mmask16>(a.v | b.v)}; }
};
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec sqrt(Vec a) { return {_mm512_sqrt_ps(a.v)}; }
/// The smaller (larger) operand; the second where either is NaN.
inline Vec min_or_second(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vec max_or_second(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec bit_and(Vec a, Vec b) { return {_mm512_and_ps(a.v, b.v)}; }
inline Vec bit_or(Vec a, Vec b) { return {_mm512_or_ps(a.v, b.v)}; }
inline Vec bit_xor(Vec a, Vec b) { return {_mm512_xor_ps(a.v, b.v)}; }
inline Mask less(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
inline Mask is_nan(Vec a) { return {_mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q)}; }
inline Vec select(Mask m, Vec yes, Vec no) { return {_mm512_mask_blend_ps(m.v, no.v, yes.v)}; }
/// Nearest integer, halves to even.
inline Vec round_even(Vec a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
/// a * 2^n for integral n.
inline Vec scale_by_power(Vec a, Vec n) { return {_mm512_scalef_ps(a.v, n.v)}; }

#elif defined(__AVX2__)

// kTailMask + 8 - n has n lanes set.
alignas(64) inline constexpr int32_t kTailMask[16] = {-1, -1, -1, -1, -1, -1, -1, -1};

struct Vec {
  static constexpr int kWidth = 8;
  __m256 v;
  static __m256i tail(int n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kTailMask + 8 - n));
  }
  static Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static Vec all(float x) { return {_mm256_set1_ps(x)}; }
  static Vec zero() { return {_mm256_setzero_ps()}; }
  static Vec load_first(const float* p, int n) { return {_mm256_maskload_ps(p, tail(n))}; }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
  void store_first(float* p, int n) const { _mm256_maskstore_ps(p, tail(n), v); }
  friend Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
  friend Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
  friend Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
  friend Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
};
struct Mask {
  __m256 v;
  friend Mask operator|(Mask a, Mask b) { return {_mm256_or_ps(a.v, b.v)}; }
};
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec sqrt(Vec a) { return {_mm256_sqrt_ps(a.v)}; }
inline Vec min_or_second(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
inline Vec max_or_second(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Vec bit_and(Vec a, Vec b) { return {_mm256_and_ps(a.v, b.v)}; }
inline Vec bit_or(Vec a, Vec b) { return {_mm256_or_ps(a.v, b.v)}; }
inline Vec bit_xor(Vec a, Vec b) { return {_mm256_xor_ps(a.v, b.v)}; }
inline Mask less(Vec a, Vec b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
inline Mask is_nan(Vec a) { return {_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q)}; }
inline Vec select(Mask m, Vec yes, Vec no) { return {_mm256_blendv_ps(no.v, yes.v, m.v)}; }
inline Vec round_even(Vec a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline Vec scale_by_power(Vec a, Vec n) {
  // In two halves, because 2^n itself may be infinite or denormal where a * 2^n is not.
  const __m256i whole = _mm256_cvtps_epi32(n.v), half = _mm256_srai_epi32(whole, 1);
  const __m256i rest = _mm256_sub_epi32(whole, half), bias = _mm256_set1_epi32(127);
  const auto power = [&](__m256i e) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, bias), 23));
  };
  return {_mm256_mul_ps(_mm256_mul_ps(a.v, power(half)), power(rest))};
}

#else  // SSE2

struct Vec {
  static constexpr int kWidth = 4;
  __m128 v;
  static Vec load(const float* p) { return {_mm_loadu_ps(p)}; }
  static Vec all(float x) { return {_mm_set1_ps(x)}; }
  static Vec zero() { return {_mm_setzero_ps()}; }
  static Vec load_first(const float* p, int n) {
    alignas(16) float lanes[4] = {0, 0, 0, 0};
    for (int i = 0; i < n; ++i) lanes[i] = p[i];
    return {_mm_load_ps(lanes)};
  }
  void store(float* p) const { _mm_storeu_ps(p, v); }
  void store_first(float* p, int n) const {
    alignas(16) float lanes[4];
    _mm_store_ps(lanes, v);
    for (int i = 0; i < n; ++i) p[i] = lanes[i];
  }
  friend Vec operator+(Vec a, Vec b) { return {_mm_add_ps(a.v, b.v)}; }
  friend Vec operator-(Vec a, Vec b) { return {_mm_sub_ps(a.v, b.v)}; }
  friend Vec operator*(Vec a, Vec b) { return {_mm_mul_ps(a.v, b.v)}; }
  friend Vec operator/(Vec a, Vec b) { return {_mm_div_ps(a.v, b.v)}; }
};
struct Mask {
  __m128 v;
  friend Mask operator|(Mask a, Mask b) { return {_mm_or_ps(a.v, b.v)}; }
};
/// a * b + c; rounded twice at this level.
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm_add_ps(_mm_mul_ps(a.v, b.v), c.v)}; }
inline Vec sqrt(Vec a) { return {_mm_sqrt_ps(a.v)}; }
inline Vec min_or_second(Vec a, Vec b) { return {_mm_min_ps(a.v, b.v)}; }
inline Vec max_or_second(Vec a, Vec b) { return {_mm_max_ps(a.v, b.v)}; }
inline Vec bit_and(Vec a, Vec b) { return {_mm_and_ps(a.v, b.v)}; }
inline Vec bit_or(Vec a, Vec b) { return {_mm_or_ps(a.v, b.v)}; }
inline Vec bit_xor(Vec a, Vec b) { return {_mm_xor_ps(a.v, b.v)}; }
inline Mask less(Vec a, Vec b) { return {_mm_cmplt_ps(a.v, b.v)}; }
inline Mask is_nan(Vec a) { return {_mm_cmpunord_ps(a.v, a.v)}; }
inline Vec select(Mask m, Vec yes, Vec no) {
  return {_mm_or_ps(_mm_and_ps(m.v, yes.v), _mm_andnot_ps(m.v, no.v))};
}
inline Vec round_even(Vec a) {
  // Adding 2^23 leaves no room for a fraction. What is that large already is integral; the sign
  // is put back for -0.
  const __m128 sign = _mm_and_ps(a.v, _mm_set1_ps(-0.0f));
  const __m128 magic = _mm_or_ps(_mm_set1_ps(8388608.0f), sign);
  const __m128 rounded = _mm_or_ps(_mm_sub_ps(_mm_add_ps(a.v, magic), magic), sign);
  const __m128 small =
      _mm_cmplt_ps(_mm_andnot_ps(_mm_set1_ps(-0.0f), a.v), _mm_set1_ps(8388608.0f));
  return select({small}, {rounded}, a);
}
inline Vec scale_by_power(Vec a, Vec n) {
  const __m128i whole = _mm_cvtps_epi32(n.v), half = _mm_srai_epi32(whole, 1);
  const __m128i rest = _mm_sub_epi32(whole, half), bias = _mm_set1_epi32(127);
  const auto power = [&](__m128i e) {
    return _mm_castsi128_ps(_mm_slli_epi32(_mm_add_epi32(e, bias), 23));
  };
  return {_mm_mul_ps(_mm_mul_ps(a.v, power(half)), power(rest))};
}

#endif

// --- the same text for every width
// ----------------------------------------------------------------

inline Vec load_upto(const float* p, int n) {
  return n >= Vec::kWidth ? Vec::load(p) : Vec::load_first(p, n);
}
inline void store_upto(float* p, Vec x, int n) {
  n >= Vec::kWidth ? x.store(p) : x.store_first(p, n);
}
/// 1 in the first n lanes, 0 beyond.
inline Vec first_lanes(int n) {
  alignas(64) static constexpr float kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  return Vec::load_first(kOnes, n);
}
/// p[0], p[step], ..., the first n of them, zero beyond.
inline Vec load_strided(const float* p, int64_t step, int n) {
  alignas(64) float lanes[Vec::kWidth] = {};
  for (int i = 0; i < n; ++i) lanes[i] = p[i * step];
  return Vec::load(lanes);
}
/// Halves join until one lane is left: in registers, as a trip through memory would stall.
template <typename Join>
inline float fold(Vec x, Join join) {
#if defined(__AVX512F__)
  const __m512 upper = _mm512_castps256_ps512(_mm512_extractf32x8_ps(x.v, 1));
  const __m256 half = _mm512_castps512_ps256(join(x, Vec{upper}).v);
  const auto join4 = [&](__m128 a, __m128 b) {
    return _mm512_castps512_ps128(
        join(Vec{_mm512_castps128_ps512(a)}, Vec{_mm512_castps128_ps512(b)}).v);
  };
  const __m128 q = join4(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
#elif defined(__AVX2__)
  const auto join4 = [&](__m128 a, __m128 b) {
    return _mm256_castps256_ps128(
        join(Vec{_mm256_castps128_ps256(a)}, Vec{_mm256_castps128_ps256(b)}).v);
  };
  const __m128 q = join4(_mm256_castps256_ps128(x.v), _mm256_extractf128_ps(x.v, 1));
#else
  const auto join4 = [&](__m128 a, __m128 b) { return join(Vec{a}, Vec{b}).v; };
  const __m128 q = x.v;
#endif
  const __m128 two = join4(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(join4(two, _mm_shuffle_ps(two, two, 1)));
}
inline float sum_of(Vec x) {
  return fold(x, [](Vec a, Vec b) { return a + b; });
}
inline float max_of(Vec x) {
  return fold(x, [](Vec a, Vec b) { return max_or_second(a, b); });
}

inline Vec sign_of(Vec a) { return bit_and(a, Vec::all(-0.0f)); }
inline Vec abs(Vec a) { return bit_xor(a, sign_of(a)); }
inline Vec negate(Vec a) { return bit_xor(a, Vec::all(-0.0f)); }
/// NaN where either operand is NaN, as ONNX's Min and Max.
inline Vec min(Vec a, Vec b) { return select(is_nan(a), a, min_or_second(a, b)); }
inline Vec max(Vec a, Vec b) { return select(is_nan(a), a, max_or_second(a, b)); }
inline Vec relu(Vec a) { return max_or_second(Vec::zero(), a); }  // the second where NaN
inline Vec floor(Vec a) {
  const Vec near = round_even(a);
  return bit_or(select(less(a, near), near - Vec::all(1.0f), near), sign_of(a));
}
inline Vec ceil(Vec a) {
  const Vec near = round_even(a);
  return bit_or(select(less(near, a), near + Vec::all(1.0f), near), sign_of(a));
}

// Errors stated in units in the last place of the result, the largest over every 97th float, with
// and without FMA.

/// 1.0 ulp; infinity above 88.7229, denormal below -87.336, zero below -103.98.
inline Vec exp(Vec x) {
  const Vec bounded = min_or_second(Vec::all(89.0f), max_or_second(Vec::all(-104.0f), x));
  const Vec n = round_even(bounded * Vec::all(1.44269504f));
  // ln 2 in two parts: the products n * 0.693359375 are exact.
  Vec r = fma(n, Vec::all(-0.693359375f), bounded);
  r = fma(n, Vec::all(2.12194440e-4f), r);
  // Minimax on +-0.3466 with the first two terms fixed (coefficients: Cephes expf).
  Vec p = Vec::all(1.9875691500e-4f);
  p = fma(p, r, Vec::all(1.3981999507e-3f));
  p = fma(p, r, Vec::all(8.3334519073e-3f));
  p = fma(p, r, Vec::all(4.1665795894e-2f));
  p = fma(p, r, Vec::all(1.6666665459e-1f));
  p = fma(p, r, Vec::all(5.0000001201e-1f));
  const Vec result = scale_by_power(fma(p, r * r, r) + Vec::all(1.0f), n);
  return select(is_nan(x), x, result);
}

/// 1 / (1 + exp(-x)); 2.4 ulp.
inline Vec sigmoid(Vec x) { return Vec::all(1.0f) / (Vec::all(1.0f) + exp(negate(x))); }

/// 1.3 ulp.
inline Vec tanh(Vec x) {
  const Vec magnitude = abs(x), s = x * x;
  // Odd polynomial where 1 - 2 / (exp(2x) + 1) would cancel (coefficients: Cephes tanhf).
  Vec p = Vec::all(-5.70498872745e-3f);
  p = fma(p, s, Vec::all(2.06390887954e-2f));
  p = fma(p, s, Vec::all(-5.37397155531e-2f));
  p = fma(p, s, Vec::all(1.33314422036e-1f));
  p = fma(p, s, Vec::all(-3.33332819422e-1f));
  const Vec small = fma(p * s, x, x);
  const Vec e = exp(magnitude + magnitude);
  const Vec large = Vec::all(1.0f) - Vec::all(2.0f) / (e + Vec::all(1.0f));
  return select(less(magnitude, Vec::all(0.625f)), small, bit_or(large, sign_of(x)));
}

/// 1.0 ulp with FMA, 1.1 without. Split at 0.9277 into an odd polynomial and 1 - exp(polynomial);
/// minimax coefficients as published by N. Juffa for erff.
inline Vec erf(Vec x) {
  const Vec t = abs(x), s = x * x;
  Vec near = Vec::all(-5.96761703e-4f);
  near = fma(near, s, Vec::all(4.99119423e-3f));
  near = fma(near, s, Vec::all(-2.67681349e-2f));
  near = fma(near, s, Vec::all(1.12819925e-1f));
  near = fma(near, s, Vec::all(-3.76125336e-1f));
  near = fma(near, s, Vec::all(1.28379166e-1f));
  near = fma(near, x, x);
  // erf is 1 in float32 from 3.92 on; the bound keeps infinity away from the polynomial.
  const Vec b = min_or_second(Vec::all(4.0f), t), b2 = b * b;
  Vec far = fma(Vec::all(-1.72853470e-5f), b, Vec::all(3.83197126e-4f));
  far = fma(far, b2, fma(Vec::all(-3.88396438e-3f), b, Vec::all(2.42546219e-2f)));
  far = fma(far, b, Vec::all(-1.06777877e-1f));
  far = fma(far, b, Vec::all(-6.34846687e-1f));
  far = fma(far, b, Vec::all(-1.28717512e-1f));
  far = fma(far, b, negate(b));
  far = bit_or(Vec::all(1.0f) - exp(far), sign_of(x));
  return select(less(t, Vec::all(0.927734375f)), near, far);
}

/// 1.1 ulp (1.4 without FMA) for x >= 0; for x < 0, where 1 + erf cancels, 0.5 ulp of |x|.
#if defined(__AVX512F__)
/// By a table in registers, three times as fast as by erf: x * Phi(x) = 0.5 x + |x| * (Phi(|x|) -
/// 0.5).
inline Vec gelu(Vec x) {
  const Vec t = abs(x), bounded = min_or_second(Vec::all(31.4f * kGeluStep), t);
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the lowest bits, where permutes look.
  const Vec magic = Vec::all(12582912.0f),
            shifted = fma(bounded, Vec::all(1.0f / kGeluStep), magic);
  const Vec r = fma(shifted - magic, Vec::all(-kGeluStep), bounded);
  const __m512i piece = _mm512_castps_si512(shifted.v);
  const auto coefficient = [&](int d) {
    return Vec{_mm512_permutex2var_ps(_mm512_load_ps(kGeluTable[d]), piece,
                                      _mm512_load_ps(kGeluTable[d] + 16))};
  };
  Vec p = coefficient(4);
  p = fma(p, r, coefficient(3));
  p = fma(p, r, coefficient(2));
  p = fma(p, r, coefficient(1));
  p = fma(p, r, coefficient(0));
  return fma(t, p, x * Vec::all(0.5f));
}
#else
inline Vec gelu(Vec x) {
  const Vec half = Vec::all(0.5f) * x;
  return fma(half, erf(x * Vec::all(0.70710678f)), half);
}
#endif
/// 1.4 ulp (1.5 without FMA) for x >= 0; for x < 0 0.5 ulp of |x|.
inline Vec gelu_tanh(Vec x) {
  const Vec cubic = fma(Vec::all(0.044715f) * x * x, x, x), half = Vec::all(0.5f) * x;
  return fma(half, tanh(cubic * Vec::all(0.79788456f)), half);
}
/// x * sigmoid(c * x).
inline Vec swish(Vec x, Vec c) { return x / (Vec::all(1.0f) + exp(negate(c * x))); }

}  // namespace
}  // namespace vitrail
