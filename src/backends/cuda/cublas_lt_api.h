// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <cstdint>

// cuBLASLt's C interface as far as it is used: values and layouts are those of cublasLt.h, which
// library_api_test.cc compares where that header is present.
namespace vitrail::cuda::lt {

constexpr int kSuccess = 0;
// cudaDataType_t, cublasComputeType_t, cublasOperation_t
constexpr int kF32 = 0, kF16 = 2, kBf16 = 14;
constexpr int kComputeF32 = 68, kComputeTf32 = 77;
constexpr int32_t kTransposed = 1;
// cublasLtMatrixLayoutAttribute_t
constexpr int kBatchCount = 5, kBatchOffset = 6;
// cublasLtMatmulDescAttributes_t
constexpr int kTransA = 3, kTransB = 4, kEpilogue = 7, kBiasPointer = 8, kBiasType = 26;
// cublasLtEpilogue_t
constexpr uint32_t kEpilogueNone = 1, kEpilogueRelu = 2, kEpilogueBias = 4, kEpilogueGelu = 32;
// cublasLtMatmulPreferenceAttributes_t
constexpr int kMaxWorkspace = 1, kReductionMask = 3, kAlignA = 5, kAlignB = 6, kAlignC = 7,
              kAlignD = 8;
// cublasLtReductionScheme_t: partial sums in the compute type
constexpr uint32_t kReduceComputeType = 2;

struct Algo {
  uint64_t data[8] = {};
};
struct HeuristicResult {
  Algo algo;
  size_t workspace = 0;
  int state = 0;
  float waves = 0;
  int reserved[4] = {};
};
static_assert(sizeof(HeuristicResult) == 96);

using Handle = void*;
using Desc = void*;
using Layout = void*;
using Preference = void*;

struct LtApi {
  size_t (*cublasLtGetVersion)();
  int (*cublasLtCreate)(Handle*);
  int (*cublasLtMatmulDescCreate)(Desc*, int compute, int scale);
  int (*cublasLtMatmulDescDestroy)(Desc);
  int (*cublasLtMatmulDescSetAttribute)(Desc, int, const void*, size_t);
  int (*cublasLtMatrixLayoutCreate)(Layout*, int type, uint64_t rows, uint64_t cols, int64_t ld);
  int (*cublasLtMatrixLayoutDestroy)(Layout);
  int (*cublasLtMatrixLayoutSetAttribute)(Layout, int, const void*, size_t);
  int (*cublasLtMatmulPreferenceCreate)(Preference*);
  int (*cublasLtMatmulPreferenceDestroy)(Preference);
  int (*cublasLtMatmulPreferenceSetAttribute)(Preference, int, const void*, size_t);
  int (*cublasLtMatmulAlgoGetHeuristic)(Handle, Desc, Layout a, Layout b, Layout c, Layout d,
                                        Preference, int wanted, HeuristicResult*, int* found);
  int (*cublasLtMatmulAlgoInit)(Handle, int compute, int scale, int a, int b, int c, int d, int id,
                                Algo*);
  int (*cublasLtMatmulAlgoCheck)(Handle, Desc, Layout a, Layout b, Layout c, Layout d, const Algo*,
                                 HeuristicResult*);
  int (*cublasLtMatmulAlgoConfigSetAttribute)(Algo*, int, const void*, size_t);
  int (*cublasLtMatmulAlgoConfigGetAttribute)(const Algo*, int, void*, size_t, size_t* written);
  int (*cublasLtMatmul)(Handle, Desc, const void* alpha, const void* a, Layout, const void* b,
                        Layout, const void* beta, const void* c, Layout, void* d, Layout,
                        const Algo*, void* workspace, size_t workspace_bytes, void* stream);
};

/// What names an algorithm: cublasLtMatmulAlgoConfigAttributes_t, its bytes, and our name for it.
struct AlgoAttribute {
  const char* name;
  int attribute;
  size_t bytes;
};
constexpr AlgoAttribute kAlgoAttributes[] = {
    {"tile", 1, 4},   {"split", 2, 4},  {"reduction", 3, 4}, {"swizzle", 4, 4},
    {"custom", 5, 4}, {"stages", 6, 4}, {"inner", 7, 2},     {"cluster", 8, 2}};
constexpr int kAlgoId = 0;
/// Hopper's own products, on wgmma.
constexpr uint32_t kHopperAlgo = 66;

}  // namespace vitrail::cuda::lt
