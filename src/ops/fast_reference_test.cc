// SPDX-License-Identifier: Apache-2.0
// The panelled reference against the plain one, on sizes that leave rests in every loop.
#include "ops/fast_reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace vitrail {
namespace {

template <typename T>
class FastReference : public testing::Test {
 protected:
  std::vector<T> draw(int64_t n) {
    std::vector<T> out(static_cast<size_t>(n));
    std::normal_distribution<double> normal;
    for (T& x : out) x = static_cast<T>(normal(random_));
    return out;
  }
  // A fresh stream every run; the seed is printed with a failure.
  const unsigned seed_ = std::random_device{}();
  std::mt19937_64 random_{seed_};
  testing::ScopedTrace trace_{__FILE__, __LINE__, "seed " + std::to_string(seed_)};
};
using Floats = testing::Types<float, double>;
TYPED_TEST_SUITE(FastReference, Floats);

TYPED_TEST(FastReference, MatmulGivesTheSameBits) {
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{1, 1, 1},
                                {1, 37, 5},
                                {33, 1, 70},
                                {17, 33, 129},
                                {130, 67, 31},
                                {8, 16, 0},
                                {5, 700, 3200}}) {
    MatmulShape s;
    s.m = m, s.n = n, s.k = k;
    s.a_at = {0, m * k, 0};
    s.b_at = {0, 0, k * n};
    const auto a = this->draw(2 * m * k), b = this->draw(2 * k * n);
    std::vector<TypeParam> fast(static_cast<size_t>(3 * m * n)), plain(fast.size());
    fast::matmul(s, a.data(), b.data(), fast.data());
    for (size_t i = 0; i < 3; ++i)
      plain_matmul(m, n, k, a.data() + s.a_at[i], b.data() + s.b_at[i],
                   plain.data() + static_cast<int64_t>(i) * m * n);
    EXPECT_EQ(fast, plain) << m << " x " << n << " x " << k;
  }
}

// {batch, groups, in channels, out channels} and the spatial extents, kernel, stride, dilation,
// pads
std::vector<ConvShape> conv_shapes() {
  const auto make = [](std::array<int64_t, 4> channels, Dims in, std::array<int64_t, 3> kernel,
                       int64_t stride, int64_t dilation, int64_t pad) {
    ConvShape s{channels[0], channels[1], channels[2], channels[3], std::move(in), {}, {}};
    for (size_t d = 0; d < 3; ++d) {
      const bool used = s.in[d] > 1;
      const int64_t p = used ? pad : 0, st = used ? stride : 1, dil = used ? dilation : 1;
      s.windows.push_back(
          {st, dil, kernel[d], p, p, (s.in[d] + 2 * p - dil * (kernel[d] - 1) - 1) / st + 1});
    }
    return s;
  };
  return {make({2, 1, 3, 19}, {1, 17, 23}, {1, 3, 3}, 1, 1, 1),
          make({1, 1, 31, 31}, {1, 9, 37}, {1, 1, 1}, 1, 1, 0),
          make({2, 3, 4, 5}, {1, 15, 14}, {1, 5, 2}, 2, 1, 2),
          make({1, 13, 1, 1}, {1, 19, 21}, {1, 3, 3}, 1, 1, 1),
          make({2, 7, 1, 2}, {1, 19, 21}, {1, 3, 3}, 2, 3, 4),
          make({1, 1, 5, 9}, {1, 1, 211}, {1, 1, 7}, 3, 2, 6),
          make({1, 2, 3, 4}, {6, 7, 9}, {2, 3, 3}, 1, 1, 1)};
}
TYPED_TEST(FastReference, ConvolutionGivesTheSameBits) {
  for (const ConvShape& s : conv_shapes()) {
    const auto x = this->draw(s.batch * s.groups * s.in_channels * s.in_size());
    const auto w = this->draw(s.groups * s.out_channels * s.in_channels * s.taps()),
               bias = this->draw(s.groups * s.out_channels);
    std::vector<TypeParam> fast(
        static_cast<size_t>(s.batch * s.groups * s.out_channels * s.out_size())),
        plain(fast.size());
    for (const TypeParam* b : {static_cast<const TypeParam*>(nullptr), bias.data()}) {
      fast::conv(s, x.data(), w.data(), b, fast.data());
      plain_conv(s, x.data(), w.data(), b, plain.data());
      EXPECT_EQ(fast, plain) << to_string(s.in) << " groups " << s.groups;
    }
  }
}
TYPED_TEST(FastReference, TransposedConvolutionDiffersByTheOrderOfItsSumsOnly) {
  for (const ConvShape& s : conv_shapes()) {
    const auto x = this->draw(s.batch * s.groups * s.out_channels * s.out_size());
    const auto w = this->draw(s.groups * s.out_channels * s.in_channels * s.taps());
    std::vector<double> fast(static_cast<size_t>(s.batch * s.groups * s.in_channels * s.in_size())),
        plain(fast.size());
    fast::conv_transpose(s, x.data(), w.data(), fast.data());
    plain_conv_transpose(s, x.data(), w.data(), plain.data());
    // At most out_channels * taps products of normal numbers (below 8 each factor), each rounded
    // twice.
    const double tolerance = static_cast<double>(s.out_channels * s.taps()) * 64 * 2 * 0x1p-53;
    for (size_t i = 0; i < fast.size(); ++i)
      ASSERT_NEAR(fast[i], plain[i], tolerance) << to_string(s.in);
  }
}

}  // namespace
}  // namespace vitrail
