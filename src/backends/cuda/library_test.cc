// SPDX-License-Identifier: Apache-2.0
// Our declarations of vendors' libraries against their headers, where those are installed; what is
// said of a library that is not there, and of calls whose numbers contradict themselves.
#include "backends/cuda/library.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>

#include "backends/cuda/cublas_lt_api.h"
#include "backends/cuda/cudnn_api.h"
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

#if __has_include(<cudnn_graph.h>)
#include <cudnn_graph.h>

namespace vitrail::cuda::dnn {
static_assert(kSuccess == CUDNN_STATUS_SUCCESS && kF32 == CUDNN_DATA_FLOAT &&
              kF16 == CUDNN_DATA_HALF && kBf16 == CUDNN_DATA_BFLOAT16 &&
              kCrossCorrelation == CUDNN_CROSS_CORRELATION &&
              kHeuristicInstant == CUDNN_HEUR_MODE_INSTANT);
static_assert(kAdd == CUDNN_POINTWISE_ADD);
static_assert(kTypeHandle == CUDNN_TYPE_HANDLE && kTypeData == CUDNN_TYPE_DATA_TYPE &&
              kTypeBoolean == CUDNN_TYPE_BOOLEAN && kTypeInt64 == CUDNN_TYPE_INT64 &&
              kTypeFloat == CUDNN_TYPE_FLOAT && kTypePointer == CUDNN_TYPE_VOID_PTR &&
              kTypeConvolutionMode == CUDNN_TYPE_CONVOLUTION_MODE &&
              kTypeHeuristic == CUDNN_TYPE_HEUR_MODE && kTypeKnob == CUDNN_TYPE_KNOB_TYPE &&
              kTypeNote == CUDNN_TYPE_NUMERICAL_NOTE &&
              kTypePointwise == CUDNN_TYPE_POINTWISE_MODE &&
              kTypeDescriptor == CUDNN_TYPE_BACKEND_DESCRIPTOR);
static_assert(kPointwise == CUDNN_BACKEND_POINTWISE_DESCRIPTOR &&
              kConvolution == CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR &&
              kEngine == CUDNN_BACKEND_ENGINE_DESCRIPTOR &&
              kEngineConfig == CUDNN_BACKEND_ENGINECFG_DESCRIPTOR &&
              kHeuristics == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR &&
              kExecutionPlan == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR &&
              kKnobChoice == CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR &&
              kConvolutionForward == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR &&
              kPointwiseOperation == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR &&
              kOperationGraph == CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR &&
              kVariantPack == CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR &&
              kTensor == CUDNN_BACKEND_TENSOR_DESCRIPTOR);
static_assert(kPointwiseMode == CUDNN_ATTR_POINTWISE_MODE &&
              kPointwisePrecision == CUDNN_ATTR_POINTWISE_MATH_PREC &&
              kConvPrecision == CUDNN_ATTR_CONVOLUTION_COMP_TYPE &&
              kConvMode == CUDNN_ATTR_CONVOLUTION_CONV_MODE &&
              kConvDilations == CUDNN_ATTR_CONVOLUTION_DILATIONS &&
              kConvStrides == CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES &&
              kConvPostPads == CUDNN_ATTR_CONVOLUTION_POST_PADDINGS &&
              kConvPrePads == CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS &&
              kConvSpatialDims == CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS);
static_assert(kHeuristicMode == CUDNN_ATTR_ENGINEHEUR_MODE &&
              kHeuristicGraph == CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH &&
              kHeuristicResults == CUDNN_ATTR_ENGINEHEUR_RESULTS &&
              kConfigEngine == CUDNN_ATTR_ENGINECFG_ENGINE &&
              kConfigKnobs == CUDNN_ATTR_ENGINECFG_KNOB_CHOICES &&
              kPlanConfig == CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG &&
              kPlanWorkspace == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE &&
              kKnobType == CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE &&
              kKnobValue == CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE);
static_assert(kForwardAlpha == CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA &&
              kForwardBeta == CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA &&
              kForwardConv == CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC &&
              kForwardW == CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W &&
              kForwardX == CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X &&
              kForwardY == CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y &&
              kOpPointwise == CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR &&
              kOpX == CUDNN_ATTR_OPERATION_POINTWISE_XDESC &&
              kOpB == CUDNN_ATTR_OPERATION_POINTWISE_BDESC &&
              kOpY == CUDNN_ATTR_OPERATION_POINTWISE_YDESC);
static_assert(kGraphOperations == CUDNN_ATTR_OPERATIONGRAPH_OPS &&
              kTensorAlignment == CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT &&
              kTensorType == CUDNN_ATTR_TENSOR_DATA_TYPE &&
              kTensorDims == CUDNN_ATTR_TENSOR_DIMENSIONS &&
              kTensorStrides == CUDNN_ATTR_TENSOR_STRIDES &&
              kTensorId == CUDNN_ATTR_TENSOR_UNIQUE_ID &&
              kTensorVirtual == CUDNN_ATTR_TENSOR_IS_VIRTUAL &&
              kPackIds == CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS &&
              kPackPointers == CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS &&
              kPackWorkspace == CUDNN_ATTR_VARIANT_PACK_WORKSPACE &&
              kEngineGraph == CUDNN_ATTR_ENGINE_OPERATION_GRAPH &&
              kEngineIndex == CUDNN_ATTR_ENGINE_GLOBAL_INDEX &&
              kEngineNotes == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE);
static_assert(kNoteTensorCore == CUDNN_NUMERICAL_NOTE_TENSOR_CORE &&
              kNoteDownConvert == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS &&
              kNoteReducedSums == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION &&
              kNoteFft == CUDNN_NUMERICAL_NOTE_FFT &&
              kNoteNondeterministic == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC &&
              kNoteWinograd == CUDNN_NUMERICAL_NOTE_WINOGRAD &&
              kNoteLastWinograd == CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13);
}  // namespace vitrail::cuda::dnn
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
  EXPECT_EQ(version_text("cudnn", 91400), "cuDNN 9.14.0");
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
