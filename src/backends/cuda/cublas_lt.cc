// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/cublas_lt.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>

#include "backends/cuda/cublas_lt_api.h"
#include "backends/cuda/numbers.h"
#include "backends/cuda/shared_library.h"
#include "base/error.h"

namespace vitrail::cuda {
namespace {
using namespace lt;

struct Loaded {
  LtApi api{};
  GpuLibrary library;
};

Loaded load() {
  Loaded out;
  Functions functions(open_library("VITRAIL_CUBLASLT", {"libcublasLt.so.13", "libcublasLt.so.12"}),
                      "cuBLASLt", "12 or newer");
  LtApi& a = out.api;
#define VITRAIL_FIND(name) functions.find(#name, a.name)
  VITRAIL_FIND(cublasLtGetVersion), VITRAIL_FIND(cublasLtCreate);
  VITRAIL_FIND(cublasLtMatmulDescCreate), VITRAIL_FIND(cublasLtMatmulDescDestroy),
      VITRAIL_FIND(cublasLtMatmulDescSetAttribute);
  VITRAIL_FIND(cublasLtMatrixLayoutCreate), VITRAIL_FIND(cublasLtMatrixLayoutDestroy),
      VITRAIL_FIND(cublasLtMatrixLayoutSetAttribute);
  VITRAIL_FIND(cublasLtMatmulPreferenceCreate), VITRAIL_FIND(cublasLtMatmulPreferenceDestroy),
      VITRAIL_FIND(cublasLtMatmulPreferenceSetAttribute);
  VITRAIL_FIND(cublasLtMatmulAlgoGetHeuristic), VITRAIL_FIND(cublasLtMatmulAlgoInit),
      VITRAIL_FIND(cublasLtMatmulAlgoCheck);
  VITRAIL_FIND(cublasLtMatmulAlgoConfigSetAttribute),
      VITRAIL_FIND(cublasLtMatmulAlgoConfigGetAttribute), VITRAIL_FIND(cublasLtMatmul);
#undef VITRAIL_FIND
  out.library = functions.library(a.cublasLtGetVersion);
  return out;
}
const Loaded& loaded() {
  static const Loaded once = load();
  return once;
}
const LtApi& lt_api() { return loaded().api; }

void check_lt(int status, const char* what) {
  require(status == kSuccess, Code::resource, "cuBLASLt failed at {}: status {}", what, status);
}

// One for each device, for the rest of the process: the library's own threads and code outlive
// static objects badly.
Handle handle_of(const Device& device) {
  static std::mutex mutex;
  static std::map<int, Handle> handles;
  const std::lock_guard lock(mutex);
  Handle& handle = handles[device.number()];
  if (!handle) check_lt(lt_api().cublasLtCreate(&handle), "its start");
  return handle;
}

int data_type(int64_t dtype) {
  switch (static_cast<DType>(dtype)) {
    case DType::f32:
      return kF32;
    case DType::f16:
      return kF16;
    case DType::bf16:
      return kBf16;
    default:
      fail(Code::bad_input, "a product of elements of type {}", dtype);
  }
}

// Descriptors. In the library's column-major words D is n x m, the product of our B and our A.
class Matmul {
 public:
  Matmul(const Device& device, const Numbers& numbers) : handle_(handle_of(device)) {
    const int64_t m = numbers.extent("m"), n = numbers.extent("n"), k = numbers.extent("k");
    const int64_t batch = numbers.extent("batch");
    const bool trans_a = numbers.flag("trans_a"), trans_b = numbers.flag("trans_b");
    type_ = data_type(numbers.at("type"));
    c_type_ = data_type(numbers.at("c_type"));
    d_type_ = data_type(numbers.at("d_type"));
    compute_ = numbers.flag("tf32") ? kComputeTf32 : kComputeF32;
    Desc desc = nullptr;
    check_lt(lt_api().cublasLtMatmulDescCreate(&desc, compute_, kF32), "describing a product");
    desc_ = Owned(desc, lt_api().cublasLtMatmulDescDestroy);
    set(kTransA, static_cast<int32_t>(trans_b ? kTransposed : 0));
    set(kTransB, static_cast<int32_t>(trans_a ? kTransposed : 0));
    constexpr uint32_t kActivations[] = {0, kEpilogueRelu, kEpilogueGelu};
    const uint32_t epilogue = kActivations[numbers.within("activation", 0, 2)] |
                              (numbers.get("bias", -1) >= 0 ? kEpilogueBias : 0);
    set(kEpilogue, epilogue ? epilogue : kEpilogueNone);
    if (epilogue & kEpilogueBias) set(kBiasType, static_cast<int32_t>(d_type_));
    layout(0, type_, trans_b ? k : n, trans_b ? n : k, numbers, "b", batch);
    layout(1, type_, trans_a ? m : k, trans_a ? k : m, numbers, "a", batch);
    layout(2, c_type_, n, m, numbers, numbers.get("c", -1) >= 0 ? "c" : "d", batch);
    layout(3, d_type_, n, m, numbers, "d", batch);
  }

  template <typename T>
  void set(int attribute, const T& value) {
    check_lt(lt_api().cublasLtMatmulDescSetAttribute(desc_.get(), attribute, &value, sizeof value),
             "describing a product");
  }

  std::vector<HeuristicResult> heuristics(const Numbers& numbers, size_t workspace,
                                          int count) const {
    Preference preference = nullptr;
    check_lt(lt_api().cublasLtMatmulPreferenceCreate(&preference), "asking for algorithms");
    const auto prefer = [&](int attribute, auto value) {
      lt_api().cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value);
    };
    prefer(kMaxWorkspace, uint64_t{workspace});
    // Partial sums are added in float32, whatever D's type. Their sum is rounded to that type
    // before bias, activation and C, so a narrow D with any of those is summed in one part.
    const bool rounds_once =
        d_type_ == kF32 ||
        (numbers.get("bias", -1) < 0 && numbers.get("c", -1) < 0 && !numbers.at("activation"));
    prefer(kReductionMask, rounds_once ? kReduceComputeType : uint32_t{0});
    const auto align = [&](const char* name) {
      return static_cast<uint32_t>(numbers.within(name, 1, 256));
    };
    prefer(kAlignA, align("align_b")), prefer(kAlignB, align("align_a"));
    prefer(kAlignC, align("align_c")), prefer(kAlignD, align("align_d"));
    std::vector<HeuristicResult> out(static_cast<size_t>(count));
    int found = 0;
    // A status other than success says that there is none.
    const int status = lt_api().cublasLtMatmulAlgoGetHeuristic(
        handle_, desc_.get(), layouts_[0].get(), layouts_[1].get(), layouts_[2].get(),
        layouts_[3].get(), preference, count, out.data(), &found);
    lt_api().cublasLtMatmulPreferenceDestroy(preference);
    out.resize(status == kSuccess ? static_cast<size_t>(std::clamp(found, 0, count)) : 0);
    std::erase_if(out, [](const HeuristicResult& r) { return r.state != kSuccess; });
    return out;
  }

  /// Whether the result is known to be rounded once. With both a bias and C, algorithms older than
  /// Hopper's round a narrow sum before they add the bias (seen on an H200, tests/gpu).
  bool exact(const Numbers& numbers, const HeuristicResult& r) const {
    if (d_type_ == kF32 || numbers.get("bias", -1) < 0 || numbers.get("c", -1) < 0) return true;
    uint32_t id = 0;
    size_t written = 0;
    return lt_api().cublasLtMatmulAlgoConfigGetAttribute(&r.algo, kAlgoId, &id, sizeof id,
                                                         &written) == kSuccess &&
           id == kHopperAlgo;
  }

  /// The algorithm that the numbers name, checked for these extents by the library.
  bool named(const Numbers& numbers, HeuristicResult& result) const {
    if (numbers.get("algo", -1) < 0) return false;
    Algo algo;
    if (lt_api().cublasLtMatmulAlgoInit(handle_, compute_, kF32, type_, type_, c_type_, d_type_,
                                        static_cast<int>(numbers.within("algo", 0, 1 << 20)),
                                        &algo) != kSuccess)
      return false;
    for (const AlgoAttribute& a : kAlgoAttributes) {
      const int64_t given = numbers.get(a.name, -1);
      if (given < 0) continue;                          // as the library initialises it
      const auto value = static_cast<uint32_t>(given);  // little-endian: its first bytes
      if (lt_api().cublasLtMatmulAlgoConfigSetAttribute(&algo, a.attribute, &value, a.bytes) !=
          kSuccess)
        return false;
    }
    if (lt_api().cublasLtMatmulAlgoCheck(handle_, desc_.get(), layouts_[0].get(), layouts_[1].get(),
                                         layouts_[2].get(), layouts_[3].get(), &algo,
                                         &result) != kSuccess ||
        result.state != kSuccess)
      return false;
    result.algo = algo;
    return true;
  }

  int run(const HeuristicResult& chosen, const void* a, const void* b, const void* c, void* d,
          bool add_c, void* workspace, size_t workspace_bytes, void* stream) const {
    const float one = 1, beta = add_c ? 1 : 0;
    return lt_api().cublasLtMatmul(
        handle_, desc_.get(), &one, b, layouts_[0].get(), a, layouts_[1].get(), &beta, c,
        layouts_[2].get(), d, layouts_[3].get(), &chosen.algo, workspace, workspace_bytes, stream);
  }

 private:
  void layout(int index, int type, int64_t rows, int64_t cols, const Numbers& numbers,
              const std::string& name, int64_t batch) {
    const int64_t ld = numbers.extent("ld" + name);
    require(ld >= rows, Code::bad_input, "a matrix '{}' of {} elements a row has its rows {} apart",
            name, rows, ld);
    Layout made = nullptr;
    check_lt(lt_api().cublasLtMatrixLayoutCreate(&made, type, static_cast<uint64_t>(rows),
                                                 static_cast<uint64_t>(cols), ld),
             "describing a matrix");
    layouts_[index] = Owned(made, lt_api().cublasLtMatrixLayoutDestroy);
    const auto count = static_cast<int32_t>(batch);
    const int64_t offset = numbers.within(("stride_" + name).c_str(), 0, kMostNumber);
    check_lt(lt_api().cublasLtMatrixLayoutSetAttribute(made, kBatchCount, &count, sizeof count),
             "describing a matrix");
    check_lt(lt_api().cublasLtMatrixLayoutSetAttribute(made, kBatchOffset, &offset, sizeof offset),
             "describing a matrix");
  }

  using Owned = std::unique_ptr<void, int (*)(void*)>;
  Handle handle_;
  Owned desc_{nullptr, nullptr};
  Owned layouts_[4] = {
      {nullptr, nullptr}, {nullptr, nullptr}, {nullptr, nullptr}, {nullptr, nullptr}};
  int type_, c_type_, d_type_, compute_;
};

class MatmulOperation : public LibraryOperation {
 public:
  MatmulOperation(std::shared_ptr<Device> device, const Numbers& numbers, size_t operands)
      : device_(std::move(device)), matmul_(*device_, numbers) {
    const auto address = [&](const char* name, bool optional = false) {
      return static_cast<int>(
          numbers.within(name, optional ? -1 : 0, static_cast<int64_t>(operands) - 1));
    };
    a_ = address("a"), b_ = address("b"), d_ = address("d"),
    workspace_at_ = address("workspace_at");
    c_ = address("c", true), bias_ = address("bias", true);
    d_offset_ = static_cast<uint64_t>(numbers.within("d_offset", 0, kMostNumber));
    workspace_ = static_cast<size_t>(numbers.within("workspace", 0, kMostNumber));
    if (matmul_.named(numbers, chosen_) && chosen_.workspace <= workspace_) return;
    constexpr int kOthers = 8;
    std::vector<HeuristicResult> others = matmul_.heuristics(numbers, workspace_, kOthers);
    // Rounding twice is better than no result.
    std::stable_partition(others.begin(), others.end(),
                          [&](const HeuristicResult& r) { return matmul_.exact(numbers, r); });
    require(!others.empty(), Code::resource,
            "{} has no algorithm for a product of {} x {} x {} with {} bytes of workspace: build "
            "the plan again with --no-libraries",
            version_text("cublasLt", cublas_lt_library().version), numbers.at("m"), numbers.at("n"),
            numbers.at("k"), workspace_);
    chosen_ = others[0];
  }

  void launch(Stream& stream, std::span<const uint64_t> addresses) override {
    const auto at = [&](int i, uint64_t offset = 0) {
      return reinterpret_cast<void*>(addresses[static_cast<size_t>(i)] + offset);
    };
    if (bias_ >= 0) matmul_.set(kBiasPointer, at(bias_));
    void* d = at(d_, d_offset_);
    check_lt(matmul_.run(chosen_, at(a_), at(b_), c_ >= 0 ? at(c_) : d, d, c_ >= 0,
                         at(workspace_at_), workspace_, stream.handle()),
             "a product");
  }

 private:
  std::shared_ptr<Device> device_;
  Matmul matmul_;
  HeuristicResult chosen_;
  int a_, b_, c_, d_, bias_, workspace_at_;
  uint64_t d_offset_;
  size_t workspace_;
};
}  // namespace

const GpuLibrary& cublas_lt_library() { return loaded().library; }

std::unique_ptr<LibraryOperation> prepare_cublas_lt(const std::shared_ptr<Device>& device,
                                                    const LibraryCall& call,
                                                    const Bindings& numbers, size_t operands) {
  require(call.operation == "matmul", Code::bad_input, "cuBLASLt has no operation '{}'",
          printable(call.operation));
  return std::make_unique<MatmulOperation>(device, Numbers(numbers), operands);
}

std::vector<Tactic> cublas_lt_tactics(const std::shared_ptr<Device>& device, const Bindings& given,
                                      int count) {
  constexpr size_t kWorkspace = 32 << 20;   // what NVIDIA advises for Hopper
  constexpr int64_t kMostTactic = 1 << 30;  // what a plan may hold
  device->enter();
  const Numbers numbers(given);
  const Matmul matmul(*device, numbers);
  std::vector<Tactic> out;
  for (const HeuristicResult& r : matmul.heuristics(numbers, kWorkspace, count)) {
    if (!matmul.exact(numbers, r)) continue;
    Tactic tactic;
    const auto get = [&](const char* name, int attribute, size_t bytes) {
      uint32_t value = 0;
      size_t written = 0;
      const int status = lt_api().cublasLtMatmulAlgoConfigGetAttribute(&r.algo, attribute, &value,
                                                                       bytes, &written);
      if (status == kSuccess && value != 0) tactic[name] = value;
    };
    tactic["algo"] = 0;
    get("algo", kAlgoId, 4);
    for (const AlgoAttribute& a : kAlgoAttributes) get(a.name, a.attribute, a.bytes);
    constexpr size_t kAlign = 256;
    tactic["workspace"] = static_cast<int64_t>((r.workspace + kAlign - 1) / kAlign * kAlign);
    const bool fits = std::all_of(tactic.begin(), tactic.end(),
                                  [&](const auto& e) { return e.second <= kMostTactic; });
    // Named by its attributes it must still be what was meant.
    Bindings again = given;
    again.insert(tactic.begin(), tactic.end());
    HeuristicResult same;
    if (!fits || !matmul.named(Numbers(again), same) || same.workspace > r.workspace) continue;
    if (std::find(out.begin(), out.end(), tactic) == out.end()) out.push_back(std::move(tactic));
  }
  return out;
}

}  // namespace vitrail::cuda
