// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/cudnn.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "backends/cuda/cudnn_api.h"
#include "backends/cuda/numbers.h"
#include "backends/cuda/shared_library.h"
#include "base/error.h"

namespace vitrail::cuda {
namespace {
using namespace dnn;

struct Loaded {
  DnnApi api{};
  GpuLibrary library;
};

Loaded load() {
  Loaded out;
  Functions functions(open_library("VITRAIL_CUDNN", {"libcudnn.so.9"}), "cuDNN", "version 9");
  DnnApi& a = out.api;
#define VITRAIL_FIND(name) functions.find(#name, a.name)
  VITRAIL_FIND(cudnnGetVersion), VITRAIL_FIND(cudnnCreate), VITRAIL_FIND(cudnnSetStream);
  VITRAIL_FIND(cudnnBackendCreateDescriptor), VITRAIL_FIND(cudnnBackendDestroyDescriptor),
      VITRAIL_FIND(cudnnBackendFinalize);
  VITRAIL_FIND(cudnnBackendSetAttribute), VITRAIL_FIND(cudnnBackendGetAttribute),
      VITRAIL_FIND(cudnnBackendExecute);
#undef VITRAIL_FIND
  out.library = functions.library(a.cudnnGetVersion);
  return out;
}
const Loaded& loaded() {
  static const Loaded once = load();
  return once;
}
const DnnApi& dnn_api() { return loaded().api; }

void check_dnn(int status, const char* what) {
  require(status == kSuccess, Code::resource, "cuDNN failed at {}: status {}", what, status);
}

// One for each device, for the rest of the process. A handle has one stream at a time.
struct SharedHandle {
  void* handle = nullptr;
  std::mutex mutex;
};
SharedHandle& handle_of(const Device& device) {
  static std::mutex mutex;
  static std::map<int, SharedHandle> handles;
  const std::lock_guard lock(mutex);
  SharedHandle& shared = handles[device.number()];
  if (!shared.handle) check_dnn(dnn_api().cudnnCreate(&shared.handle), "its start");
  return shared;
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
      fail(Code::bad_input, "a convolution of elements of type {}", dtype);
  }
}

class Descriptor {
 public:
  explicit Descriptor(int type) {
    check_dnn(dnn_api().cudnnBackendCreateDescriptor(type, &raw_), "making a descriptor");
  }
  Descriptor(Descriptor&& other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (raw_) dnn_api().cudnnBackendDestroyDescriptor(raw_);
  }
  void* raw() const { return raw_; }

  bool try_set(int name, int type, int64_t count, const void* values) const {
    return dnn_api().cudnnBackendSetAttribute(raw_, name, type, count, values) == kSuccess;
  }
  void set(int name, int type, int64_t count, const void* values) const {
    check_dnn(dnn_api().cudnnBackendSetAttribute(raw_, name, type, count, values),
              fmt::format("attribute {}", name).c_str());
  }
  template <typename T>
  void set(int name, int type, const T& value) const {
    set(name, type, 1, &value);
  }
  void set(int name, const Descriptor& other) const { set(name, kTypeDescriptor, other.raw_); }
  bool finalize() const { return dnn_api().cudnnBackendFinalize(raw_) == kSuccess; }
  void must_finalize(const char* what) const {
    check_dnn(dnn_api().cudnnBackendFinalize(raw_), what);
  }
  int64_t get(int name, int type, int64_t wanted, void* values) const {
    int64_t count = 0;
    const int status = dnn_api().cudnnBackendGetAttribute(raw_, name, type, wanted, &count, values);
    return status == kSuccess ? std::min(count, wanted) : 0;
  }

 private:
  void* raw_ = nullptr;
};

enum Id : int64_t { kX = 1, kWeight, kBias, kResidual, kY, kFirstInner };

// The operations as a graph, whose engines heuristics name.
class Convolution {
 public:
  Convolution(const Device& device, const Numbers& numbers)
      : handle_(handle_of(device)), numbers_(numbers) {
    const int type = data_type(numbers.at("type")), y_type = data_type(numbers.at("y_type"));
    float32_ = type == kF32;
    const int64_t n = numbers.extent("n"), c = numbers.extent("c"), o = numbers.extent("o");
    const int64_t kh = numbers.extent("kh"), kw = numbers.extent("kw");
    const int64_t y_dims[] = {n, o, numbers.extent("oh"), numbers.extent("ow")};
    tensor(kX, type, {n, c, numbers.extent("h"), numbers.extent("w")}, strides("x"),
           align("align_x"));
    tensor(kWeight, type, {o, c, kh, kw}, {kh * kw * c, 1, kw * c, c}, 16);
    const std::vector<int64_t> y(std::begin(y_dims), std::end(y_dims));
    std::vector<Descriptor> operations;
    operations.reserve(4);
    const bool bias = numbers.get("bias", -1) >= 0, residual = numbers.get("residual", -1) >= 0;
    int left = bias + residual;
    const auto result = [&] {
      if (left == 0) return tensor(kY, y_type, y, strides("y"), align("align_y"));
      // Between operations: float32, channels innermost.
      return tensor(kFirstInner + left, kF32, y, {o * y[2] * y[3], 1, o * y[3], o}, 16, true);
    };
    size_t last = result();
    forward(operations, last);
    const auto then = [&](size_t other) {
      --left;
      const size_t from = last;
      last = result();
      add(operations, from, other, last);
    };
    if (bias) then(tensor(kBias, y_type, {1, o, 1, 1}, {o, 1, o, o}, align("align_bias")));
    if (residual) then(tensor(kResidual, y_type, y, strides("r"), align("align_residual")));
    std::vector<void*> raw;
    for (const Descriptor& d : operations) raw.push_back(d.raw());
    graph_.set(kGraphHandle, kTypeHandle, handle_.handle);
    graph_.set(kGraphOperations, kTypeDescriptor, static_cast<int64_t>(raw.size()), raw.data());
    supported_ = graph_.finalize();
  }

  /// Engines and settings, best guess first.
  std::vector<Tactic> heuristics() const {
    constexpr int64_t kMost = 16, kMostKnobs = 48;
    std::vector<Tactic> out;
    if (!supported_) return out;
    const Descriptor heuristics(kHeuristics);
    heuristics.set(kHeuristicGraph, graph_);
    heuristics.set(kHeuristicMode, kTypeHeuristic, kHeuristicInstant);
    if (!heuristics.finalize()) return out;
    std::vector<Descriptor> configs = many(kEngineConfig, kMost);
    std::vector<void*> raw = raws(configs);
    const int64_t found = heuristics.get(kHeuristicResults, kTypeDescriptor, kMost, raw.data());
    for (int64_t i = 0; i < found; ++i) {
      const Descriptor& config = configs[static_cast<size_t>(i)];
      const Descriptor engine(kEngine);
      void* engine_raw = engine.raw();
      int64_t index = -1;
      if (config.get(kConfigEngine, kTypeDescriptor, 1, &engine_raw) != 1 ||
          engine.get(kEngineIndex, kTypeInt64, 1, &index) != 1)
        continue;
      Tactic tactic = {{"engine", index}};
      const std::vector<Descriptor> knobs = many(kKnobChoice, kMostKnobs);
      std::vector<void*> knob_raws = raws(knobs);
      const int64_t count = config.get(kConfigKnobs, kTypeDescriptor, kMostKnobs, knob_raws.data());
      for (int64_t k = 0; k < count; ++k) {
        int type = 0;
        int64_t value = 0;
        const Descriptor& knob = knobs[static_cast<size_t>(k)];
        if (knob.get(kKnobType, kTypeKnob, 1, &type) == 1 &&
            knob.get(kKnobValue, kTypeInt64, 1, &value) == 1)
          tactic[fmt::format("knob{}", type)] = value;
      }
      out.push_back(std::move(tactic));
    }
    return out;
  }

  /// Makes plan() of an engine and its settings; false: it does not do this, or not as exactly as
  /// asked, or wants more workspace than `most`.
  bool take(const Tactic& named, int64_t most) {
    if (!supported_) return false;
    const Descriptor engine(kEngine);
    const int64_t index = named.at("engine");
    if (!engine.try_set(kEngineGraph, kTypeDescriptor, 1, &graph_raw()) ||
        !engine.try_set(kEngineIndex, kTypeInt64, 1, &index) || !engine.finalize() ||
        !exact(engine))
      return false;
    const Descriptor config(kEngineConfig);
    void* engine_raw = engine.raw();
    if (!config.try_set(kConfigEngine, kTypeDescriptor, 1, &engine_raw)) return false;
    std::vector<Descriptor> knobs;
    for (const auto& [name, value] : named) {
      if (!name.starts_with("knob")) continue;
      const int type = std::atoi(name.c_str() + 4);
      knobs.emplace_back(kKnobChoice);
      if (!knobs.back().try_set(kKnobType, kTypeKnob, 1, &type) ||
          !knobs.back().try_set(kKnobValue, kTypeInt64, 1, &value) || !knobs.back().finalize())
        return false;
    }
    const std::vector<void*> raw = raws(knobs);
    if (!raw.empty() && !config.try_set(kConfigKnobs, kTypeDescriptor,
                                        static_cast<int64_t>(raw.size()), raw.data()))
      return false;
    if (!config.finalize()) return false;
    auto plan = std::make_unique<Descriptor>(kExecutionPlan);
    void* config_raw = config.raw();
    plan->try_set(kPlanHandle, kTypeHandle, 1, &handle_.handle);  // later versions want none
    if (!plan->try_set(kPlanConfig, kTypeDescriptor, 1, &config_raw) || !plan->finalize() ||
        plan->get(kPlanWorkspace, kTypeInt64, 1, &workspace_) != 1 || workspace_ > most)
      return false;
    plan_ = std::move(plan);
    return true;
  }
  int64_t workspace() const { return workspace_; }

  void execute(Stream& stream, const std::vector<int64_t>& ids, const std::vector<void*>& pointers,
               void* workspace) const {
    const Descriptor pack(kVariantPack);
    const auto count = static_cast<int64_t>(ids.size());
    pack.set(kPackIds, kTypeInt64, count, ids.data());
    pack.set(kPackPointers, kTypePointer, count, pointers.data());
    pack.set(kPackWorkspace, kTypePointer, workspace);
    pack.must_finalize("naming operands");
    const std::lock_guard lock(handle_.mutex);
    check_dnn(dnn_api().cudnnSetStream(handle_.handle, stream.handle()), "taking a stream");
    check_dnn(dnn_api().cudnnBackendExecute(handle_.handle, plan_->raw(), pack.raw()),
              "a convolution");
  }

 private:
  static std::vector<Descriptor> many(int type, int64_t count) {
    std::vector<Descriptor> out;
    for (int64_t i = 0; i < count; ++i) out.emplace_back(type);
    return out;
  }
  static std::vector<void*> raws(const std::vector<Descriptor>& list) {
    std::vector<void*> out;
    for (const Descriptor& d : list) out.push_back(d.raw());
    return out;
  }
  void* const& graph_raw() const { return graph_pointer_ = graph_.raw(); }

  int64_t align(const char* name) const { return numbers_.within(name, 1, 256); }
  std::vector<int64_t> strides(const std::string& name) const {
    std::vector<int64_t> out;
    for (const char* axis : {"_n", "_c", "_h", "_w"})
      out.push_back(numbers_.within(name + axis, 0, kMostNumber));
    return out;
  }
  size_t tensor(int64_t id, int type, const std::vector<int64_t>& dims,
                const std::vector<int64_t>& steps, int64_t alignment, bool inner = false) {
    Descriptor& d = tensors_.emplace_back(kTensor);
    d.set(kTensorId, kTypeInt64, id);
    d.set(kTensorType, kTypeData, type);
    d.set(kTensorAlignment, kTypeInt64, alignment);
    d.set(kTensorDims, kTypeInt64, 4, dims.data());
    d.set(kTensorStrides, kTypeInt64, 4, steps.data());
    d.set(kTensorVirtual, kTypeBoolean, inner);
    d.must_finalize("describing a tensor");
    return tensors_.size() - 1;
  }
  void forward(std::vector<Descriptor>& operations, size_t y) const {
    const auto pair = [&](const char* h, const char* w, int64_t low) {
      return std::vector<int64_t>{numbers_.within(h, low, INT32_MAX),
                                  numbers_.within(w, low, INT32_MAX)};
    };
    const auto stride = pair("stride_h", "stride_w", 1), pre = pair("pad_top", "pad_left", 0),
               dilation = pair("dilation_h", "dilation_w", 1);
    const int64_t in[] = {numbers_.at("h"), numbers_.at("w")},
                  window[] = {numbers_.at("kh"), numbers_.at("kw")},
                  out[] = {numbers_.at("oh"), numbers_.at("ow")};
    int64_t post[2];
    for (int i = 0; i < 2; ++i) {
      const auto a = static_cast<size_t>(i);
      const int64_t reach = (window[i] - 1) * dilation[a] + 1;
      post[i] = std::max<int64_t>(0, (out[i] - 1) * stride[a] + reach - in[i] - pre[a]);
      require(in[i] + pre[a] + post[i] >= reach &&
                  (in[i] + pre[a] + post[i] - reach) / stride[a] + 1 == out[i],
              Code::resource, "cuDNN would give a convolution {} outputs instead of {}",
              (in[i] + pre[a] + post[i] - reach) / stride[a] + 1, out[i]);
    }
    const Descriptor conv(kConvolution);
    conv.set(kConvSpatialDims, kTypeInt64, int64_t{2});
    conv.set(kConvPrecision, kTypeData, kF32);
    conv.set(kConvMode, kTypeConvolutionMode, kCrossCorrelation);
    conv.set(kConvStrides, kTypeInt64, 2, stride.data());
    conv.set(kConvDilations, kTypeInt64, 2, dilation.data());
    conv.set(kConvPrePads, kTypeInt64, 2, pre.data());
    conv.set(kConvPostPads, kTypeInt64, 2, post);
    conv.must_finalize("describing a convolution");
    const Descriptor& op = operations.emplace_back(kConvolutionForward);
    op.set(kForwardX, tensors_[0]);
    op.set(kForwardW, tensors_[1]);
    op.set(kForwardY, tensors_[y]);
    op.set(kForwardConv, conv);
    op.set(kForwardAlpha, kTypeFloat, 1.0f);
    op.set(kForwardBeta, kTypeFloat, 0.0f);
    op.must_finalize("describing a convolution");
  }
  void add(std::vector<Descriptor>& operations, size_t from, size_t other, size_t to) const {
    const Descriptor what(kPointwise);
    what.set(kPointwiseMode, kTypePointwise, kAdd);
    what.set(kPointwisePrecision, kTypeData, kF32);
    what.must_finalize("describing an epilogue");
    const Descriptor& op = operations.emplace_back(kPointwiseOperation);
    op.set(kOpPointwise, what);
    op.set(kOpX, tensors_[from]);
    op.set(kOpB, tensors_[other]);
    op.set(kOpY, tensors_[to]);
    op.must_finalize("describing an epilogue");
  }
  // Sums in float32 in one order, factors as they are.
  bool exact(const Descriptor& engine) const {
    int notes[kNoteCount] = {};
    const int64_t count = engine.get(kEngineNotes, kTypeNote, kNoteCount, notes);
    return std::none_of(notes, notes + count, [&](int note) {
      if (note == kNoteTensorCore || note == kNoteDownConvert)
        return float32_ && !numbers_.flag("tf32");
      return note >= kNoteReducedSums && note <= kNoteLastWinograd;
    });
  }

  SharedHandle& handle_;
  const Numbers numbers_;
  bool float32_ = false, supported_ = false;
  std::vector<Descriptor> tensors_;
  Descriptor graph_{kOperationGraph};
  mutable void* graph_pointer_ = nullptr;
  std::unique_ptr<Descriptor> plan_;
  int64_t workspace_ = 0;
};

class ConvolutionOperation : public LibraryOperation {
 public:
  ConvolutionOperation(std::shared_ptr<Device> device, const Bindings& values, size_t operands)
      : device_(std::move(device)), values_(values), convolution_(*device_, Numbers(values_)) {
    const Numbers numbers(values_);
    const auto add = [&](Id id, const char* name, bool optional, int64_t offset = 0) {
      const int64_t at =
          numbers.within(name, optional ? -1 : 0, static_cast<int64_t>(operands) - 1);
      if (at >= 0)
        operands_.push_back({id, static_cast<size_t>(at), static_cast<uint64_t>(offset)});
    };
    add(kX, "x", false), add(kY, "y", false), add(kBias, "bias", true);
    add(kResidual, "residual", true);
    add(kWeight, "weight", false, numbers.within("weight_offset", 0, kMostNumber));
    workspace_at_ =
        static_cast<size_t>(numbers.within("workspace_at", 0, static_cast<int64_t>(operands) - 1));
    const int64_t workspace = numbers.within("workspace", 0, kMostNumber);
    if (numbers.get("engine", -1) >= 0) {
      Tactic named;
      for (const auto& [name, value] : values_)
        if (name == "engine" || name.starts_with("knob")) named[name] = value;
      if (convolution_.take(named, workspace)) return;
    }
    for (const Tactic& other : convolution_.heuristics())
      if (convolution_.take(other, workspace)) return;
    fail(Code::resource,
         "{} has no engine for a convolution of {}x{}x{}x{} with {} bytes of workspace: build the "
         "plan again with --no-libraries",
         version_text("cudnn", cudnn_library().version), numbers.at("n"), numbers.at("h"),
         numbers.at("w"), numbers.at("c"), workspace);
  }

  void launch(Stream& stream, std::span<const uint64_t> addresses) override {
    std::vector<int64_t> ids;
    std::vector<void*> pointers;
    for (const Operand& o : operands_) {
      ids.push_back(o.id);
      pointers.push_back(reinterpret_cast<void*>(addresses[o.at] + o.offset));
    }
    convolution_.execute(stream, ids, pointers, reinterpret_cast<void*>(addresses[workspace_at_]));
  }

 private:
  struct Operand {
    Id id;
    size_t at;
    uint64_t offset;
  };
  std::shared_ptr<Device> device_;
  const Bindings values_;
  Convolution convolution_;
  std::vector<Operand> operands_;
  size_t workspace_at_;
};
}  // namespace

const GpuLibrary& cudnn_library() { return loaded().library; }

std::unique_ptr<LibraryOperation> prepare_cudnn(const std::shared_ptr<Device>& device,
                                                const LibraryCall& call, const Bindings& numbers,
                                                size_t operands) {
  require(call.operation == "convolution", Code::bad_input, "cuDNN has no operation '{}'",
          printable(call.operation));
  return std::make_unique<ConvolutionOperation>(device, numbers, operands);
}

std::vector<Tactic> cudnn_tactics(const std::shared_ptr<Device>& device, const Bindings& numbers,
                                  int count) {
  constexpr int64_t kWorkspace = 64 << 20, kMostTactic = 1 << 30, kAlign = 256;
  device->enter();
  Convolution convolution(*device, Numbers(numbers));
  std::vector<Tactic> out;
  for (Tactic tactic : convolution.heuristics()) {
    if (out.size() == static_cast<size_t>(count)) break;
    if (std::any_of(tactic.begin(), tactic.end(),
                    [&](const auto& e) { return e.second < 0 || e.second > kMostTactic; }) ||
        !convolution.take(tactic, kWorkspace))
      continue;
    tactic["workspace"] = (convolution.workspace() + kAlign - 1) / kAlign * kAlign;
    out.push_back(std::move(tactic));
  }
  return out;
}

}  // namespace vitrail::cuda
