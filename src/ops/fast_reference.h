// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "ops/contraction.h"
#include "ops/conv.h"

/// The second reference of matmul and convolution: packed panels, vectors, threads. It makes the
/// oracle usable on real models (some 20 to 50 products a nanosecond instead of one).
///
/// Every result is one sum in float64 in the order of the plain reference (products and sums
/// rounded apart), so the two agree bit by bit, on every processor and for every number of
/// threads. Only conv_transpose sums its channels before its taps.
namespace vitrail::fast {

/// Whether a problem is large enough to be worth packing and threads: a million products.
bool worthwhile(int64_t batches, int64_t m, int64_t n, int64_t k);
bool worthwhile(const ConvShape& s);

/// c[i] = a[i] b[i] for every batch i.
template <typename T>
void matmul(const MatmulShape& s, const T* a, const T* b, T* c);
/// y = conv(x, w) + bias; bias may be null.
template <typename T>
void conv(const ConvShape& s, const T* x, const T* w, const T* bias, T* y);
/// sums += transposed conv(x, w), where s is the convolution that is transposed (its input is
/// `sums`).
template <typename T>
void conv_transpose(const ConvShape& s, const T* x, const T* w, double* sums);

}  // namespace vitrail::fast
