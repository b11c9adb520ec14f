// SPDX-License-Identifier: Apache-2.0
#include "base/tensor.h"

#include <gtest/gtest.h>

#include "base/recycle.h"

namespace vitrail {
namespace {

constexpr int64_t kLarge = 8 << 20;

TEST(RecycleTensors, MemoryGoesToTheNextTensorOfItsSize) {
  const RecycleTensors recycle;
  const void* first = nullptr;
  {
    const Tensor t(DType::u8, {kLarge});
    first = t.raw();
  }
  const Tensor again(DType::u8, {kLarge - 1000}), other(DType::u8, {kLarge});
  EXPECT_EQ(again.raw(), first);
  EXPECT_NE(other.raw(), first) << "it is in use";
  const Tensor copy = again;
  EXPECT_EQ(copy.raw(), first);
}

TEST(RecycleTensors, AMuchSmallerTensorGetsItsOwn) {
  const RecycleTensors recycle;
  const void* first = nullptr;
  {
    const Tensor t(DType::u8, {4 * kLarge});
    first = t.raw();
  }
  EXPECT_NE(Tensor(DType::u8, {kLarge}).raw(), first);
}

TEST(RecycleTensors, TensorsOutliveIt) {
  Tensor t;
  {
    const RecycleTensors recycle;
    t = Tensor(DType::u8, {kLarge});
  }
  std::memset(t.mutable_raw(), 1, t.bytes());
  EXPECT_EQ(t.int_at(kLarge - 1), 1);
}

}  // namespace
}  // namespace vitrail
