// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/library.h"

#include "backends/cuda/cublas_lt.h"
#include "backends/cuda/cudnn.h"
#include "base/error.h"

namespace vitrail::cuda {
namespace {
struct Row {
  const char* name;
  const char* shown;
  const char* variable;
  const GpuLibrary& (*find)();
  std::unique_ptr<LibraryOperation> (*prepare)(const std::shared_ptr<Device>&, const LibraryCall&,
                                               const Bindings&, size_t);
};
constexpr Row kRows[] = {
    {"cublasLt", "cuBLASLt", "VITRAIL_CUBLASLT", cublas_lt_library, prepare_cublas_lt},
    {"cudnn", "cuDNN", "VITRAIL_CUDNN", cudnn_library, prepare_cudnn}};

const Row& row(std::string_view name) {
  for (const Row& r : kRows)
    if (name == r.name) return r;
  fail(Code::bad_input, "the library '{}' is not known here", printable(std::string(name)));
}
}  // namespace

const GpuLibrary& library(std::string_view name) { return row(name).find(); }

void require_library(std::string_view name) {
  const Row& r = row(name);
  require(r.find().version > 0, Code::resource,
          "the plan calls {}, which cannot be used: {}; install it, name its file in {} or its "
          "folder in VITRAIL_CUDA_PATH, or build the plan again with --no-libraries",
          r.shown, r.find().missing, r.variable);
}

std::string version_text(std::string_view name, int64_t version) {
  // Both count in ten thousands, cuBLASLt 12.6.4 as 120604 and cuDNN 9.26.0 as 92600.
  return fmt::format("{} {}.{}.{}", row(name).shown, version / 10000, version / 100 % 100,
                     version % 100);
}

std::unique_ptr<LibraryOperation> prepare_call(const std::shared_ptr<Device>& device,
                                               const LibraryCall& call, const Bindings& numbers,
                                               size_t operands) {
  require_library(call.library);
  device->enter();
  return row(call.library).prepare(device, call, numbers, operands);
}

}  // namespace vitrail::cuda
