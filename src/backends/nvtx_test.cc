// SPDX-License-Identifier: Apache-2.0
#include "backends/nvtx.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#endif

namespace vitrail::nvtx {
namespace {

TEST(Nvtx, AToolIsToldOfRanges) {
  setenv("NVTX_INJECTION64_PATH", NVTX_TOOL, 1);
  ASSERT_TRUE(attached());
  {
    const Range outer("run");
    const Range inner(std::string("step"));
  }
  { const Range next("next"); }
  void* tool = dlopen(NVTX_TOOL, RTLD_LAZY | RTLD_NOLOAD);
  ASSERT_NE(tool, nullptr);
  const auto told = reinterpret_cast<const char* (*)()>(dlsym(tool, "ranges_told"));
  ASSERT_NE(told, nullptr);
  EXPECT_STREQ(told(), "run(step())next()");
}

#ifdef NVTX_VERSION
TEST(Nvtx, NumbersAreThoseOfTheHeader) {
  EXPECT_EQ(NVTX_CBID_CORE_RangePushA, 9);
  EXPECT_EQ(NVTX_CBID_CORE_RangePop, 11);
  EXPECT_EQ(NVTX_CBID_CORE_SIZE, 16);
  EXPECT_EQ(NVTX_CBID_CUDA_SIZE, 9);
  EXPECT_EQ(NVTX_CBID_OPENCL_SIZE, 15);
  EXPECT_EQ(NVTX_CBID_CUDART_SIZE, 7);
  EXPECT_EQ(NVTX_CBID_CORE2_SIZE, 16);
  EXPECT_EQ(NVTX_CBID_SYNC_SIZE, 7);
  EXPECT_EQ(NVTX_ETID_CALLBACKS, 1);
}
#endif

}  // namespace
}  // namespace vitrail::nvtx
