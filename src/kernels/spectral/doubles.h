// SPDX-License-Identifier: Apache-2.0
// Vectors of float64, the widest that the including file's ISA flags allow; what simd.h is for
// float32, as far as spectral needs it.
#pragma once
#include "kernels/simd.h"

namespace vitrail {
namespace {

#if defined(__AVX512F__)

struct Doubles {
  static constexpr int kWidth = 8;
  __m512d v;
  static Doubles load(const double* p) { return {_mm512_loadu_pd(p)}; }
  static Doubles load(const float* p) { return {_mm512_cvtps_pd(_mm256_loadu_ps(p))}; }
  static Doubles all(double x) { return {_mm512_set1_pd(x)}; }
  void store(double* p) const { _mm512_storeu_pd(p, v); }
  void store(float* p) const { _mm256_storeu_ps(p, _mm512_cvtpd_ps(v)); }
  friend Doubles operator+(Doubles a, Doubles b) { return {_mm512_add_pd(a.v, b.v)}; }
  friend Doubles operator-(Doubles a, Doubles b) { return {_mm512_sub_pd(a.v, b.v)}; }
  friend Doubles operator*(Doubles a, Doubles b) { return {_mm512_mul_pd(a.v, b.v)}; }
  friend Doubles operator/(Doubles a, Doubles b) { return {_mm512_div_pd(a.v, b.v)}; }
};
inline Doubles fma(Doubles a, Doubles b, Doubles c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }
inline Doubles sqrt(Doubles a) { return {_mm512_sqrt_pd(a.v)}; }
/// The larger operand; the second where either is NaN.
inline Doubles max_or_second(Doubles a, Doubles b) { return {_mm512_max_pd(a.v, b.v)}; }
/// The bits of `a` plus those of `b` moved up into the exponent.
inline Doubles add_to_exponent(Doubles a, Doubles b) {
  return {_mm512_castsi512_pd(
      _mm512_add_epi64(_mm512_castpd_si512(a.v), _mm512_slli_epi64(_mm512_castpd_si512(b.v), 52)))};
}

#elif defined(__AVX2__)

struct Doubles {
  static constexpr int kWidth = 4;
  __m256d v;
  static Doubles load(const double* p) { return {_mm256_loadu_pd(p)}; }
  static Doubles load(const float* p) { return {_mm256_cvtps_pd(_mm_loadu_ps(p))}; }
  static Doubles all(double x) { return {_mm256_set1_pd(x)}; }
  void store(double* p) const { _mm256_storeu_pd(p, v); }
  void store(float* p) const { _mm_storeu_ps(p, _mm256_cvtpd_ps(v)); }
  friend Doubles operator+(Doubles a, Doubles b) { return {_mm256_add_pd(a.v, b.v)}; }
  friend Doubles operator-(Doubles a, Doubles b) { return {_mm256_sub_pd(a.v, b.v)}; }
  friend Doubles operator*(Doubles a, Doubles b) { return {_mm256_mul_pd(a.v, b.v)}; }
  friend Doubles operator/(Doubles a, Doubles b) { return {_mm256_div_pd(a.v, b.v)}; }
};
inline Doubles fma(Doubles a, Doubles b, Doubles c) { return {_mm256_fmadd_pd(a.v, b.v, c.v)}; }
inline Doubles sqrt(Doubles a) { return {_mm256_sqrt_pd(a.v)}; }
inline Doubles max_or_second(Doubles a, Doubles b) { return {_mm256_max_pd(a.v, b.v)}; }
inline Doubles add_to_exponent(Doubles a, Doubles b) {
  return {_mm256_castsi256_pd(
      _mm256_add_epi64(_mm256_castpd_si256(a.v), _mm256_slli_epi64(_mm256_castpd_si256(b.v), 52)))};
}

#else  // SSE2

struct Doubles {
  static constexpr int kWidth = 2;
  __m128d v;
  static Doubles load(const double* p) { return {_mm_loadu_pd(p)}; }
  static Doubles load(const float* p) {
    return {_mm_cvtps_pd(_mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
  }
  static Doubles all(double x) { return {_mm_set1_pd(x)}; }
  void store(double* p) const { _mm_storeu_pd(p, v); }
  void store(float* p) const {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_castps_si128(_mm_cvtpd_ps(v)));
  }
  friend Doubles operator+(Doubles a, Doubles b) { return {_mm_add_pd(a.v, b.v)}; }
  friend Doubles operator-(Doubles a, Doubles b) { return {_mm_sub_pd(a.v, b.v)}; }
  friend Doubles operator*(Doubles a, Doubles b) { return {_mm_mul_pd(a.v, b.v)}; }
  friend Doubles operator/(Doubles a, Doubles b) { return {_mm_div_pd(a.v, b.v)}; }
};
/// a * b + c; rounded twice at this level.
inline Doubles fma(Doubles a, Doubles b, Doubles c) { return a * b + c; }
inline Doubles sqrt(Doubles a) { return {_mm_sqrt_pd(a.v)}; }
inline Doubles max_or_second(Doubles a, Doubles b) { return {_mm_max_pd(a.v, b.v)}; }
inline Doubles add_to_exponent(Doubles a, Doubles b) {
  return {_mm_castsi128_pd(
      _mm_add_epi64(_mm_castpd_si128(a.v), _mm_slli_epi64(_mm_castpd_si128(b.v), 52)))};
}

#endif

/// Halves join until one lane is left, as simd.h's fold.
template <typename Join>
inline double fold(Doubles x, Join join) {
#if defined(__AVX512F__)
  const __m512d upper = _mm512_castpd256_pd512(_mm512_extractf64x4_pd(x.v, 1));
  const __m256d half = _mm512_castpd512_pd256(join(x, Doubles{upper}).v);
  const auto join2 = [&](__m128d a, __m128d b) {
    return _mm512_castpd512_pd128(
        join(Doubles{_mm512_castpd128_pd512(a)}, Doubles{_mm512_castpd128_pd512(b)}).v);
  };
  const __m128d two = join2(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1));
#elif defined(__AVX2__)
  const auto join2 = [&](__m128d a, __m128d b) {
    return _mm256_castpd256_pd128(
        join(Doubles{_mm256_castpd128_pd256(a)}, Doubles{_mm256_castpd128_pd256(b)}).v);
  };
  const __m128d two = join2(_mm256_castpd256_pd128(x.v), _mm256_extractf128_pd(x.v, 1));
#else
  const auto join2 = [&](__m128d a, __m128d b) { return join(Doubles{a}, Doubles{b}).v; };
  const __m128d two = x.v;
#endif
  return _mm_cvtsd_f64(join2(two, _mm_unpackhi_pd(two, two)));
}
inline double sum_of(Doubles x) {
  return fold(x, [](Doubles a, Doubles b) { return a + b; });
}
inline double max_of(Doubles x) {
  return fold(x, [](Doubles a, Doubles b) { return max_or_second(a, b); });
}

/// exp(x) for x <= 0, relative error 1e-11 (the first term left out of the series, at ln(2) / 2);
/// what is below e^-700 counts as that. NaN stays NaN.
inline Doubles exp_of_negative(Doubles x) {
  const Doubles bounded = max_or_second(Doubles::all(-700), x);
  // Adding 1.5 * 2^52 rounds to an integer and leaves it in the lowest bits.
  const Doubles magic = Doubles::all(6755399441055744.0);
  const Doubles shifted = fma(bounded, Doubles::all(1.4426950408889634), magic);
  const Doubles n = shifted - magic;
  const Doubles r = fma(n, Doubles::all(-0.69314718055994531), bounded);
  Doubles p = Doubles::all(1.0 / 362880);
  for (double c : {1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0})
    p = fma(p, r, Doubles::all(c));
  return add_to_exponent(p, shifted);
}

}  // namespace
}  // namespace vitrail
