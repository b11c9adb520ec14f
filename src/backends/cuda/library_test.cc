// SPDX-License-Identifier: Apache-2.0
// Our declarations of vendors' libraries against their headers, where those are installed; what is
// said of a library that is not there, and of calls whose numbers contradict themselves.
#include "backends/cuda/library.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>

#include "backends/cuda/cublas_lt_api.h"
#include "backends/cuda/numbers.h"
#include "backends/cuda/shared_library.h"
#include "base/error.h"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

namespace vitrail::cuda::lt {
static_assert(kF32 == CUDA_R_32F && kF16 == CUDA_R_16F && kBf16 == CUDA_R_16BF);
static_assert(kComputeF32 == CUBLAS_COMPUTE_32F && kComputeTf32 == CUBLAS_COMPUTE_32F_FAST_TF32 &&
              kTransposed == CUBLAS_OP_T && kSuccess == CUBLAS_STATUS_SUCCESS);
static_assert(kBatchCount == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT &&
              kBatchOffset == CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET);
static_assert(kTransA == CUBLASLT_MATMUL_DESC_TRANSA && kTransB == CUBLASLT_MATMUL_DESC_TRANSB &&
              kEpilogue == CUBLASLT_MATMUL_DESC_EPILOGUE &&
              kBiasPointer == CUBLASLT_MATMUL_DESC_BIAS_POINTER &&
              kBiasType == CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE);
static_assert(kEpilogueNone == CUBLASLT_EPILOGUE_DEFAULT &&
              kEpilogueRelu == CUBLASLT_EPILOGUE_RELU && kEpilogueBias == CUBLASLT_EPILOGUE_BIAS &&
              kEpilogueGelu == CUBLASLT_EPILOGUE_GELU);
static_assert(kMaxWorkspace == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES &&
              kReductionMask == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK &&
              kAlignA == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES &&
              kAlignB == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES &&
              kAlignC == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES &&
              kAlignD == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES &&
              kReduceComputeType == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
static_assert(sizeof(Algo) == sizeof(cublasLtMatmulAlgo_t) &&
              sizeof(HeuristicResult) == sizeof(cublasLtMatmulHeuristicResult_t) &&
              offsetof(HeuristicResult, workspace) ==
                  offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize) &&
              offsetof(HeuristicResult, state) == offsetof(cublasLtMatmulHeuristicResult_t, state));
static_assert(kAlgoId == CUBLASLT_ALGO_CONFIG_ID &&
              kAlgoAttributes[0].attribute == CUBLASLT_ALGO_CONFIG_TILE_ID &&
              kAlgoAttributes[1].attribute == CUBLASLT_ALGO_CONFIG_SPLITK_NUM &&
              kAlgoAttributes[2].attribute == CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME &&
              kAlgoAttributes[3].attribute == CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING &&
              kAlgoAttributes[4].attribute == CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION &&
              kAlgoAttributes[5].attribute == CUBLASLT_ALGO_CONFIG_STAGES_ID &&
              kAlgoAttributes[6].attribute == CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID &&
              kAlgoAttributes[7].attribute == CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID);
}  // namespace vitrail::cuda::lt
#endif

namespace vitrail::cuda {
namespace {

std::string message_of(const std::function<void()>& action, Code code) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, code) << error.what();
    return error.what();
  }
  return "no error";
}

// First: libraries are looked for once in a process.
TEST(Library, MissingSaysWhereItWasLookedForAndWhatToDo) {
  setenv("VITRAIL_CUBLASLT", "/nowhere/libcublasLt.so.13", 1);
  EXPECT_EQ(library("cublasLt").version, 0);
  const std::string why = message_of([] { require_library("cublasLt"); }, Code::resource);
  for (const char* part : {"cuBLASLt", "/nowhere/libcublasLt.so.13", "VITRAIL_CUBLASLT",
                           "VITRAIL_CUDA_PATH", "--no-libraries"})
    EXPECT_NE(why.find(part), std::string::npos) << why;
}

TEST(Library, UnknownNamesAreNamed) {
  const std::string why = message_of([] { library("libm"); }, Code::bad_input);
  EXPECT_NE(why.find("'libm'"), std::string::npos) << why;
}

TEST(Library, Versions) {
  EXPECT_EQ(version_text("cublasLt", 130100), "cuBLASLt 13.1.0");
  EXPECT_EQ(version_text("cublasLt", 120604), "cuBLASLt 12.6.4");
}

TEST(Library, FoldersOfTheEnvironmentComeFirst) {
  setenv("VITRAIL_CUDA_PATH", "/first:/second", 1);
  const SharedLibrary none =
      open_library("VITRAIL_NO_SUCH_NAME", {"libnosuch.so.1", "libnosuch.so.0"});
  EXPECT_EQ(none.handle, nullptr);
  EXPECT_TRUE(none.missing.starts_with("/first/libnosuch.so.1, /first/libnosuch.so.0, /second/"))
      << none.missing;
  void (*function)() = nullptr;
  EXPECT_FALSE(none.find("f", function));
  unsetenv("VITRAIL_CUDA_PATH");
}

TEST(Library, NumbersAreChecked) {
  const Bindings values = {{"m", 0}, {"n", int64_t{1} << 40}, {"a", -1}};
  const Numbers numbers(values);
  EXPECT_NE(message_of([&] { numbers.extent("m"); }, Code::bad_input).find("m = 0"),
            std::string::npos);
  message_of([&] { numbers.extent("n"); }, Code::bad_input);
  message_of([&] { numbers.within("a", 0, 3); }, Code::bad_input);
  EXPECT_NE(message_of([&] { numbers.at("k"); }, Code::bad_input).find("'k'"), std::string::npos);
  EXPECT_EQ(numbers.get("k", 7), 7);
}

}  // namespace
}  // namespace vitrail::cuda
