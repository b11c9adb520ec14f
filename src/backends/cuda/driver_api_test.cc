// SPDX-License-Identifier: Apache-2.0
// Our declarations of the driver's interface against NVIDIA's header, where it is installed.
#include "backends/cuda/driver_api.h"

#include <gtest/gtest.h>

#include "backends/cuda/driver.h"
#include "base/error.h"

#if __has_include(<cuda.h>)
#include <cuda.h>

namespace vitrail::cuda {
static_assert(sizeof(CUlaunchConfig) == sizeof(LaunchConfig) &&
              offsetof(CUlaunchConfig, hStream) == offsetof(LaunchConfig, stream) &&
              offsetof(CUlaunchConfig, attrs) == offsetof(LaunchConfig, attributes) &&
              offsetof(CUlaunchConfig, numAttrs) == offsetof(LaunchConfig, attribute_count));
static_assert(sizeof(CUlaunchAttribute) == sizeof(LaunchAttribute) &&
              offsetof(CUlaunchAttribute, value) == offsetof(LaunchAttribute, value));
static_assert(kOutOfMemory == CUDA_ERROR_OUT_OF_MEMORY && kNoDevice == CUDA_ERROR_NO_DEVICE &&
              kNoBinaryForGpu == CUDA_ERROR_NO_BINARY_FOR_GPU &&
              kInvalidImage == CUDA_ERROR_INVALID_IMAGE && kNotFound == CUDA_ERROR_NOT_FOUND);
static_assert(kMemoryType == CU_POINTER_ATTRIBUTE_MEMORY_TYPE && kHostMemory == CU_MEMORYTYPE_HOST);
static_assert(kMultiprocessorCount == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT &&
              kMajor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR &&
              kMinor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR &&
              kL2Bytes == CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE &&
              kSharedOptin == CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
static_assert(kMaxDynamicShared == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
#if CUDA_VERSION >= 13000
static_assert(kSharedCarveout == CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT);
#endif
static_assert(kClusterDimension == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION &&
              kProgrammaticSerialization == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION);
static_assert(kRecordExternal == CU_EVENT_RECORD_EXTERNAL);
}  // namespace vitrail::cuda
#endif

namespace vitrail::cuda {
namespace {

TEST(Cuda, DeviceNames) {
  EXPECT_EQ(device_number("cuda"), 0);
  EXPECT_EQ(device_number("cuda:3"), 3);
  for (const char* bad : {"cuda:", "cuda:-1", "cuda:x", "gpu", "cuda:1x", "cuda:99999999999"})
    EXPECT_THROW(device_number(bad), Error) << bad;
}

TEST(Cuda, WithoutADeviceTheErrorNamesWhatIsMissing) {
  if (device_count() > 0) GTEST_SKIP() << "this machine has a device";
  try {
    Device::open(0);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, Code::resource);
    EXPECT_NE(std::string(error.what()).find("NVIDIA"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace vitrail::cuda
