// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

#include "base/gpu.h"
#include "base/tensor.h"

namespace vitrail {

/// What the compiler's resource report says of one entry.
struct KernelResources {
  std::string entry;
  int registers = 0, shared_bytes = 0, stack_bytes = 0, spill_bytes = 0;
};

/// Machine code of one source for one architecture.
struct CompiledCode {
  Tensor cubin;                            ///< u8
  std::vector<KernelResources> resources;  ///< empty when the code came from the cache
};

/// Whether NVRTC is there; if not, `why` names the places looked in.
bool have_nvrtc(std::string* why = nullptr);

/// "13.0"; empty when it is not there.
std::string nvrtc_version();

/// Compiles `source` with NVRTC, which is loaded when first needed (VITRAIL_NVRTC names a library;
/// otherwise libnvrtc.so.13 or .12 in the places of cuda::open_library). Results are kept in
/// `cache_folder` (empty: not) under a hash of source, architecture and NVRTC's version. Throws
/// Error(resource) when there is no NVRTC, Error(internal) with the compiler's log.
CompiledCode compile_cuda(const std::string& source, const std::string& architecture,
                          const std::string& cache_folder = {});

/// $VITRAIL_CACHE, or the user's cache folder with "vitrail" appended; empty where there is
/// neither.
std::string default_cache_folder();

}  // namespace vitrail
