// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <cstdint>

// cuDNN's graph interface (version 9) as far as it is used: values are those of cudnn_graph.h,
// which library_test.cc compares where that header is present.
namespace vitrail::cuda::dnn {

constexpr int kSuccess = 0;
// cudnnDataType_t
constexpr int kF32 = 0, kF16 = 2, kBf16 = 9;
constexpr int kCrossCorrelation = 1, kHeuristicInstant = 0;
// cudnnPointwiseMode_t
constexpr int kAdd = 0;
// cudnnBackendAttributeType_t
constexpr int kTypeHandle = 0, kTypeData = 1, kTypeBoolean = 2, kTypeInt64 = 3, kTypeFloat = 4,
              kTypePointer = 6, kTypeConvolutionMode = 7, kTypeHeuristic = 8, kTypeKnob = 9,
              kTypeNote = 11, kTypePointwise = 14, kTypeDescriptor = 15;
// cudnnBackendDescriptorType_t
constexpr int kPointwise = 0, kConvolution = 1, kEngine = 2, kEngineConfig = 3, kHeuristics = 4,
              kExecutionPlan = 5, kKnobChoice = 7, kConvolutionForward = 10,
              kPointwiseOperation = 13, kOperationGraph = 15, kVariantPack = 16, kTensor = 17;
// cudnnBackendAttributeName_t
constexpr int kPointwiseMode = 0, kPointwisePrecision = 1;
constexpr int kConvPrecision = 100, kConvMode = 101, kConvDilations = 102, kConvStrides = 103,
              kConvPostPads = 104, kConvPrePads = 105, kConvSpatialDims = 106;
constexpr int kHeuristicMode = 200, kHeuristicGraph = 201, kHeuristicResults = 202;
constexpr int kConfigEngine = 300, kConfigKnobs = 302;
constexpr int kPlanHandle = 400, kPlanConfig = 401, kPlanWorkspace = 402;
constexpr int kKnobType = 600, kKnobValue = 601;
constexpr int kForwardAlpha = 700, kForwardBeta = 701, kForwardConv = 702, kForwardW = 703,
              kForwardX = 704, kForwardY = 705;
constexpr int kOpPointwise = 750, kOpX = 751, kOpB = 752, kOpY = 753;
constexpr int kGraphHandle = 800, kGraphOperations = 801;
constexpr int kTensorAlignment = 900, kTensorType = 901, kTensorDims = 902, kTensorStrides = 903,
              kTensorId = 906, kTensorVirtual = 907;
constexpr int kPackIds = 1000, kPackPointers = 1001, kPackWorkspace = 1003;
constexpr int kEngineGraph = 1300, kEngineIndex = 1301, kEngineNotes = 1303;
// cudnnBackendNumericalNote_t
constexpr int kNoteTensorCore = 0, kNoteDownConvert = 1, kNoteReducedSums = 2, kNoteFft = 3,
              kNoteNondeterministic = 4, kNoteWinograd = 5, kNoteLastWinograd = 8, kNoteCount = 10;

struct DnnApi {
  size_t (*cudnnGetVersion)();
  int (*cudnnCreate)(void** handle);
  int (*cudnnSetStream)(void* handle, void* stream);
  int (*cudnnBackendCreateDescriptor)(int type, void** descriptor);
  int (*cudnnBackendDestroyDescriptor)(void*);
  int (*cudnnBackendFinalize)(void*);
  int (*cudnnBackendSetAttribute)(void*, int name, int type, int64_t count, const void* values);
  int (*cudnnBackendGetAttribute)(void*, int name, int type, int64_t wanted, int64_t* count,
                                  void* values);
  int (*cudnnBackendExecute)(void* handle, void* plan, void* pack);
};

}  // namespace vitrail::cuda::dnn
