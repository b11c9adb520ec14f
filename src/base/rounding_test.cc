// SPDX-License-Identifier: Apache-2.0
#include "vitrail/rounding.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

namespace vitrail {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

float one(float value, Rounding r) {
  return rounded(Tensor::of<float>({1}, {value}), r).data<float>()[0];
}
double one(double value, Rounding r) {
  return rounded(Tensor::of<double>({1}, {value}), r).data<double>()[0];
}

TEST(Rounding, TiesGoToEven) {
  for (const Rounding r : {Rounding::tf32, Rounding::f16}) {
    EXPECT_EQ(one(1 + 0x1p-11f, r), 1) << name_of(r);
    EXPECT_EQ(one(1 + 0x3p-11f, r), 1 + 0x1p-9f) << name_of(r);
    EXPECT_EQ(one(1 + 0x1p-11f + 0x1p-23f, r), 1 + 0x1p-10f) << name_of(r);
    EXPECT_EQ(one(-2 + 0x1p-11f, r), -2) << name_of(r);  // up into the next power of two
  }
  EXPECT_EQ(one(1 + 0x1p-8f, Rounding::bf16), 1);
  EXPECT_EQ(one(1 + 0x3p-8f, Rounding::bf16), 1 + 0x1p-6f);
}

TEST(Rounding, LargeValuesBecomeInfinite) {
  EXPECT_EQ(one(65519.99f, Rounding::f16), 65504);
  EXPECT_EQ(one(65520.0f, Rounding::f16), kInf);
  EXPECT_EQ(one(-65520.0f, Rounding::f16), -kInf);
  const float largest = std::numeric_limits<float>::max();
  EXPECT_EQ(one(largest, Rounding::tf32), kInf);
  EXPECT_EQ(one(0x1.FFCp127f, Rounding::tf32), 0x1.FFCp127f);
  EXPECT_EQ(one(-largest, Rounding::bf16), -kInf);
  EXPECT_EQ(one(0x1.FEp127f, Rounding::bf16), 0x1.FEp127f);
  for (const Rounding r : {Rounding::tf32, Rounding::f16, Rounding::bf16}) {
    EXPECT_EQ(one(kInf, r), kInf);
    EXPECT_TRUE(
        std::isnan(one(std::bit_cast<float>(0x7F800001u), r)));  // not one of infinity's bits
  }
}

TEST(Rounding, SmallValuesAreMultiplesOfTheLeast) {
  EXPECT_EQ(one(0x1p-24f, Rounding::f16), 0x1p-24f);
  EXPECT_EQ(one(0x3p-25f, Rounding::f16), 0x1p-23f);  // a tie, to even
  EXPECT_EQ(one(0x1p-25f, Rounding::f16), 0);
  EXPECT_TRUE(std::signbit(one(-0x1p-26f, Rounding::f16)));
  EXPECT_EQ(one(0x1p-133f, Rounding::bf16), 0x1p-133f);
  EXPECT_EQ(one(0x1p-134f, Rounding::bf16), 0);
  EXPECT_EQ(one(0x1p-136f, Rounding::tf32), 0x1p-136f);
  EXPECT_EQ(one(0x1p-137f, Rounding::tf32), 0);
}

// Of all bits: as the definition in float64 says, which is written another way.
TEST(Rounding, FloatsAgreeWithDoubles) {
  std::mt19937 random(3);
  for (int i = 0; i < 200000; ++i) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(random()));
    if (std::isnan(value)) continue;
    for (const Rounding r : {Rounding::tf32, Rounding::f16, Rounding::bf16})
      ASSERT_EQ(static_cast<double>(one(value, r)), one(static_cast<double>(value), r))
          << std::hexfloat << value << " " << name_of(r);
  }
}

TEST(Rounding, DoublesAreRoundedOnce) {
  EXPECT_EQ(one(1 + 0x1p-11 + 0x1p-40, Rounding::f16), 1 + 0x1p-10);  // float32 would make it a tie
}

TEST(Rounding, OtherTypesStay) {
  const Tensor ints = Tensor::of<int64_t>({1}, {1234567});
  EXPECT_TRUE(rounded(ints, Rounding::bf16).same(ints));
}

}  // namespace
}  // namespace vitrail
