// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <cstdint>

// The driver's C interface as far as it is used, under the names of its binary interface. Layouts
// and numbers are those of cuda.h, which driver_api_test.cc compares where that header is present.
namespace vitrail::cuda {

constexpr int kSuccess = 0, kOutOfMemory = 2, kNoDevice = 100, kNoBinaryForGpu = 209,
              kInvalidImage = 200, kNotFound = 500;

// CUdevice_attribute
constexpr int kMultiprocessorCount = 16, kMajor = 75, kMinor = 76, kL2Bytes = 38, kSharedOptin = 97;
// CUpointer_attribute, CUmemorytype
constexpr int kMemoryType = 2;
constexpr unsigned kHostMemory = 1;
// CUfunction_attribute
constexpr int kMaxDynamicShared = 8;
// CUlaunchAttributeID
constexpr unsigned kClusterDimension = 4, kProgrammaticSerialization = 6, kSharedCarveout = 14;
// CUevent_record_flags
constexpr unsigned kRecordExternal = 1;

struct LaunchAttribute {
  unsigned id = 0;
  char pad[4] = {};
  union {
    char bytes[64];
    struct {
      unsigned x, y, z;
    } cluster;
    int programmatic_serialization;
    unsigned shared_carveout;  // percent of what there is
  } value = {};
};
static_assert(sizeof(LaunchAttribute) == 72);

struct LaunchConfig {
  unsigned grid[3], block[3], shared_bytes;
  void* stream;
  LaunchAttribute* attributes;
  unsigned attribute_count;
};
static_assert(sizeof(LaunchConfig) == 56);

using Address = unsigned long long;

struct Api {
  int (*cuInit)(unsigned);
  int (*cuDriverGetVersion)(int*);
  int (*cuGetErrorName)(int, const char**);
  int (*cuGetErrorString)(int, const char**);
  int (*cuDeviceGetCount)(int*);
  int (*cuDeviceGet)(int*, int);
  int (*cuDeviceGetName)(char*, int, int);
  int (*cuDeviceGetAttribute)(int*, int, int);
  int (*cuDeviceTotalMem_v2)(size_t*, int);
  int (*cuDevicePrimaryCtxRetain)(void**, int);
  int (*cuDevicePrimaryCtxRelease_v2)(int);
  int (*cuCtxSetCurrent)(void*);
  int (*cuMemGetInfo_v2)(size_t*, size_t*);
  int (*cuMemAlloc_v2)(Address*, size_t);
  int (*cuMemFree_v2)(Address);
  int (*cuMemAllocHost_v2)(void**, size_t);
  int (*cuMemFreeHost)(void*);
  int (*cuPointerGetAttribute)(void*, int, Address);
  int (*cuMemcpyHtoDAsync_v2)(Address, const void*, size_t, void*);
  int (*cuMemcpyDtoHAsync_v2)(void*, Address, size_t, void*);
  int (*cuMemcpyDtoDAsync_v2)(Address, Address, size_t, void*);
  int (*cuMemsetD8Async)(Address, unsigned char, size_t, void*);
  int (*cuStreamCreate)(void**, unsigned);
  int (*cuStreamDestroy_v2)(void*);
  int (*cuStreamSynchronize)(void*);
  int (*cuStreamBeginCapture_v2)(void*, int);
  int (*cuStreamEndCapture)(void*, void**);
  int (*cuGraphInstantiateWithFlags)(void**, void*, unsigned long long);
  int (*cuGraphLaunch)(void*, void*);
  int (*cuGraphExecDestroy)(void*);
  int (*cuGraphDestroy)(void*);
  int (*cuModuleLoadData)(void**, const void*);
  int (*cuModuleUnload)(void*);
  int (*cuModuleGetFunction)(void**, void*, const char*);
  int (*cuFuncSetAttribute)(void*, int, int);
  int (*cuLaunchKernelEx)(const LaunchConfig*, void*, void**, void**);
  int (*cuEventCreate)(void**, unsigned);
  int (*cuEventDestroy_v2)(void*);
  int (*cuEventRecord)(void*, void*);
  int (*cuEventRecordWithFlags)(void*, void*, unsigned);
  int (*cuEventSynchronize)(void*);
  int (*cuEventElapsedTime)(float*, void*, void*);
};

}  // namespace vitrail::cuda
