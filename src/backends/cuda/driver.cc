// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/driver.h"

#include <dlfcn.h>

#include <atomic>
#include <charconv>
#include <mutex>
#include <vector>

#include "backends/cuda/driver_api.h"
#include "base/error.h"

namespace vitrail::cuda {
namespace {
struct Loaded {
  Api api{};
  std::string missing;
};

Loaded load() {
  Loaded out;
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
  if (!library) {
    out.missing =
        "NVIDIA's driver was not found (looked for libcuda.so.1); install the driver, or run on "
        "the CPU with --device cpu";
    return out;
  }
  const auto find = [&](const char* name, auto& to) {
    to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(dlsym(library, name));
    if (!to && out.missing.empty())
      out.missing = fmt::format(
          "NVIDIA's driver has no function '{}': a driver for CUDA 12 or newer is needed", name);
  };
  Api& a = out.api;
#define VITRAIL_FIND(name) find(#name, a.name)
  VITRAIL_FIND(cuInit), VITRAIL_FIND(cuDriverGetVersion), VITRAIL_FIND(cuGetErrorName),
      VITRAIL_FIND(cuGetErrorString);
  VITRAIL_FIND(cuDeviceGetCount), VITRAIL_FIND(cuDeviceGet), VITRAIL_FIND(cuDeviceGetName),
      VITRAIL_FIND(cuDeviceGetAttribute);
  VITRAIL_FIND(cuDeviceTotalMem_v2), VITRAIL_FIND(cuDevicePrimaryCtxRetain),
      VITRAIL_FIND(cuDevicePrimaryCtxRelease_v2);
  VITRAIL_FIND(cuCtxSetCurrent), VITRAIL_FIND(cuMemGetInfo_v2), VITRAIL_FIND(cuMemAlloc_v2),
      VITRAIL_FIND(cuMemFree_v2);
  VITRAIL_FIND(cuMemAllocHost_v2), VITRAIL_FIND(cuMemFreeHost), VITRAIL_FIND(cuPointerGetAttribute),
      VITRAIL_FIND(cuMemcpyHtoDAsync_v2), VITRAIL_FIND(cuMemcpyDtoHAsync_v2);
  VITRAIL_FIND(cuMemcpyDtoDAsync_v2), VITRAIL_FIND(cuMemsetD8Async), VITRAIL_FIND(cuStreamCreate),
      VITRAIL_FIND(cuStreamDestroy_v2);
  VITRAIL_FIND(cuStreamSynchronize), VITRAIL_FIND(cuStreamBeginCapture_v2),
      VITRAIL_FIND(cuStreamEndCapture);
  VITRAIL_FIND(cuGraphInstantiateWithFlags), VITRAIL_FIND(cuGraphLaunch),
      VITRAIL_FIND(cuGraphExecDestroy), VITRAIL_FIND(cuGraphDestroy);
  VITRAIL_FIND(cuModuleLoadData), VITRAIL_FIND(cuModuleUnload), VITRAIL_FIND(cuModuleGetFunction),
      VITRAIL_FIND(cuFuncSetAttribute);
  VITRAIL_FIND(cuLaunchKernelEx), VITRAIL_FIND(cuEventCreate), VITRAIL_FIND(cuEventDestroy_v2),
      VITRAIL_FIND(cuEventRecord);
  VITRAIL_FIND(cuEventSynchronize), VITRAIL_FIND(cuEventElapsedTime),
      VITRAIL_FIND(cuEventRecordWithFlags);
#undef VITRAIL_FIND
  if (!out.missing.empty()) return out;
  const int status = a.cuInit(0);
  if (status == kSuccess) return out;
  const char* name = nullptr;
  a.cuGetErrorName(status, &name);
  out.missing = fmt::format(
      "NVIDIA's driver finds no device it can use ({}); run on the CPU with --device cpu",
      name ? name : "unknown error");
  return out;
}
const Loaded& loaded() {
  static const Loaded once = load();
  return once;
}

constexpr bool sticky(int status) {
  // Launch failures and losses after which every call in the process fails the same way.
  return status == 46 || status == 700 || status == 702 || status == 710 ||
         (status >= 714 && status <= 721);
}
Address address(const void* p) { return reinterpret_cast<Address>(p); }

// The first sticky error of the process: what every later use is told.
std::atomic<bool> device_lost{false};
std::mutex lost_mutex;
std::string lost_by;
}  // namespace

const Api& api() {
  require(loaded().missing.empty(), Code::resource, "{}", loaded().missing);
  return loaded().api;
}

void check(int status, const char* what) {
  if (status == kSuccess) [[likely]]
    return;
  const char *name = nullptr, *text = nullptr;
  api().cuGetErrorName(status, &name);
  api().cuGetErrorString(status, &text);
  const std::string failure =
      fmt::format("the GPU failed at {}: {} ({})", what, name ? name : "error", text ? text : "");
  if (!sticky(status)) fail(Code::resource, "{}", failure);
  {
    const std::lock_guard lock(lost_mutex);
    if (lost_by.empty()) lost_by = failure;
  }
  device_lost = true;
  fail(Code::resource, "{}; the device is lost to this process: start it again", failure);
}
bool lost() { return device_lost; }

bool is_page_locked(const void* data, size_t bytes) {
  const auto locked = [](const std::byte* at) {
    unsigned type = 0;
    return api().cuPointerGetAttribute(&type, kMemoryType, address(at)) == kSuccess &&
           type == kHostMemory;
  };
  const auto* first = static_cast<const std::byte*>(data);
  return bytes > 0 && locked(first) && locked(first + bytes - 1);
}

int device_count() {
  int count = 0;
  return loaded().missing.empty() && loaded().api.cuDeviceGetCount(&count) == kSuccess ? count : 0;
}

int device_number(std::string_view name) {
  if (name == "cuda") return 0;
  int number = -1;
  if (name.starts_with("cuda:")) {
    const char* end = name.data() + name.size();
    const auto [at, error] = std::from_chars(name.data() + 5, end, number);
    if (error == std::errc() && at == end && number >= 0) return number;
  }
  fail(Code::usage, "device '{}': expected cpu, cuda or cuda:N", printable(std::string(name)));
}

Device::Device(int number) : number_(number) {
  const Api& a = api();
  int count = 0, device = 0;
  check(a.cuDeviceGetCount(&count), "counting devices");
  require(number < count, Code::resource, "device cuda:{} is not there: {} device{} found", number,
          count, count == 1 ? "" : "s");
  check(a.cuDeviceGet(&device, number), "opening a device");
  char name[256] = {};
  check(a.cuDeviceGetName(name, sizeof name, device), "naming a device");
  check(a.cuDriverGetVersion(&driver_version_), "asking for the driver's version");
  const auto attribute = [&](int which) {
    int value = 0;
    check(a.cuDeviceGetAttribute(&value, which, device), "asking for a device's properties");
    return value;
  };
  size_t bytes = 0;
  check(a.cuDeviceTotalMem_v2(&bytes, device), "asking for a device's memory");
  machine_ = {10 * attribute(kMajor) + attribute(kMinor),
              attribute(kMultiprocessorCount),
              attribute(kSharedOptin),
              attribute(kL2Bytes),
              static_cast<int64_t>(bytes),
              name,
              -1,
              {},
              {}};
  check(a.cuDevicePrimaryCtxRetain(&context_, device), "making a context");
}
Device::~Device() {
  if (context_) api().cuDevicePrimaryCtxRelease_v2(number_);
}
std::shared_ptr<Device> Device::open(int number) {
  static std::mutex mutex;
  static std::vector<std::weak_ptr<Device>> open_devices;
  const std::lock_guard lock(mutex);
  const auto at = static_cast<size_t>(number);
  if (open_devices.size() <= at) open_devices.resize(at + 1);
  if (auto there = open_devices[at].lock()) return there;
  std::shared_ptr<Device> device(new Device(number));
  open_devices[at] = device;
  return device;
}
void Device::enter() const {
  if (device_lost) [[unlikely]] {
    const std::lock_guard lock(lost_mutex);
    fail(Code::resource, "the device was lost to this process earlier, start it again: {}",
         lost_by);
  }
  check(api().cuCtxSetCurrent(context_), "entering a context");
}
bool Device::try_enter() const noexcept {
  return !device_lost && loaded().api.cuCtxSetCurrent(context_) == kSuccess;
}

bool Memory::reserve(size_t bytes, const char* what) {
  if (bytes <= size_) return false;
  device_->enter();
  const Api& a = api();
  if (data_) a.cuMemFree_v2(address(data_));
  data_ = nullptr;
  size_ = 0;
  Address at = 0;
  const int status = a.cuMemAlloc_v2(&at, bytes);
  if (status == kOutOfMemory) {
    size_t available = 0, total = 0;
    a.cuMemGetInfo_v2(&available, &total);
    fail(Code::resource,
         "{} needs {} bytes of the GPU's memory, {} of {} are free: use a smaller batch or size",
         what, bytes, available, total);
  }
  check(status, "reserving memory");
  data_ = reinterpret_cast<std::byte*>(at);
  size_ = bytes;
  return true;
}
Memory::~Memory() {
  if (data_ && device_->try_enter()) api().cuMemFree_v2(address(data_));
}

void Staging::reserve(size_t bytes, const char* what) {
  if (bytes <= size_) return;
  device_->enter();
  if (data_) api().cuMemFreeHost(data_);
  data_ = nullptr;
  size_ = 0;
  void* at = nullptr;
  const int status = api().cuMemAllocHost_v2(&at, bytes);
  require(status != kOutOfMemory, Code::resource,
          "{} needs {} bytes of page-locked memory, which the system refused: use a smaller batch "
          "or size",
          what, bytes);
  check(status, "reserving page-locked memory");
  data_ = static_cast<std::byte*>(at);
  size_ = bytes;
}
Staging::~Staging() {
  if (data_ && device_->try_enter()) api().cuMemFreeHost(data_);
}

Event::Event(std::shared_ptr<Device> device) : device_(std::move(device)) {
  device_->enter();
  constexpr unsigned kWithoutTime = 2;
  check(api().cuEventCreate(&event_, kWithoutTime), "making an event");
}
Event::~Event() {
  if (device_->try_enter()) api().cuEventDestroy_v2(event_);
}
void Event::wait() const { check(api().cuEventSynchronize(event_), "waiting for a copy"); }

Module::Module(std::shared_ptr<Device> device, const void* cubin) : device_(std::move(device)) {
  device_->enter();
  const int status = api().cuModuleLoadData(&module_, cubin);
  require(status != kNoBinaryForGpu && status != kInvalidImage, Code::wrong_target,
          "the plan's machine code does not run on {} ({}): build the plan again for it",
          device_->machine().model, device_->machine().architecture());
  check(status, "loading machine code");
}
Module::~Module() {
  if (module_ && device_->try_enter()) api().cuModuleUnload(module_);
}
void* Module::function(const std::string& entry, int64_t shared_bytes) const {
  void* out = nullptr;
  const int status = api().cuModuleGetFunction(&out, module_, entry.c_str());
  require(status != kNotFound, Code::bad_input, "the plan's machine code has no entry '{}'",
          printable(entry));
  check(status, "finding an entry");
  constexpr int64_t kWithoutAsking = 48 << 10;
  if (shared_bytes > kWithoutAsking) {
    require(shared_bytes <= device_->machine().shared_bytes, Code::wrong_target,
            "entry '{}' needs {} bytes of shared memory, {} has {}", printable(entry), shared_bytes,
            device_->machine().model, device_->machine().shared_bytes);
    check(api().cuFuncSetAttribute(out, kMaxDynamicShared, static_cast<int>(shared_bytes)),
          "asking for shared memory");
  }
  return out;
}

Graph::~Graph() {
  if (device_->try_enter()) api().cuGraphExecDestroy(exec_);
}

Stamps::~Stamps() {
  if (!device_->try_enter()) return;
  for (void* event : events_) api().cuEventDestroy_v2(event);
}
void Stamps::reserve(size_t count) {
  device_->enter();
  while (events_.size() < count) {
    void* event = nullptr;
    check(api().cuEventCreate(&event, 0), "making an event");
    events_.push_back(event);
  }
}
double Stamps::microseconds(size_t from, size_t to) const {
  check(api().cuEventSynchronize(events_.at(to)), "waiting for a stamp");
  float milliseconds = 0;
  check(api().cuEventElapsedTime(&milliseconds, events_.at(from), events_.at(to)),
        "reading a time");
  return 1e3 * static_cast<double>(milliseconds);
}

Stream::Stream(std::shared_ptr<Device> device) : device_(std::move(device)) {
  device_->enter();
  constexpr unsigned kNonBlocking = 1;
  check(api().cuStreamCreate(&stream_, kNonBlocking), "making a stream");
  for (void*& event : events_) check(api().cuEventCreate(&event, 0), "making an event");
}
Stream::~Stream() {
  if (!device_->try_enter()) return;
  for (void* event : events_)
    if (event) api().cuEventDestroy_v2(event);
  if (stream_) api().cuStreamDestroy_v2(stream_);
}
void Stream::upload(std::byte* to, const void* from, size_t bytes) {
  if (bytes)
    check(api().cuMemcpyHtoDAsync_v2(address(to), from, bytes, stream_), "copying to the device");
}
void Stream::download(void* to, const std::byte* from, size_t bytes) {
  if (bytes)
    check(api().cuMemcpyDtoHAsync_v2(to, address(from), bytes, stream_), "copying from the device");
}
void Stream::copy(std::byte* to, const std::byte* from, size_t bytes) {
  if (bytes)
    check(api().cuMemcpyDtoDAsync_v2(address(to), address(from), bytes, stream_),
          "copying on the device");
}
void Stream::fill(std::byte* to, int value, size_t bytes) {
  if (bytes)
    check(api().cuMemsetD8Async(address(to), static_cast<unsigned char>(value), bytes, stream_),
          "filling memory");
}

void Stream::launch(const KernelLaunch& l) {
  constexpr unsigned kSmallLaunch = 8;     // blocks of a multiprocessor
  constexpr int kCarveoutVersion = 13000;  // of the driver: older ones may refuse the attribute
  constexpr size_t kMostParameters = 128;
  require(l.parameters.size() <= kMostParameters, Code::internal, "a launch with {} parameters",
          l.parameters.size());
  void* pointers[kMostParameters];
  for (size_t i = 0; i < l.parameters.size(); ++i)
    pointers[i] = const_cast<uint64_t*>(&l.parameters[i]);
  LaunchAttribute attributes[3];
  LaunchConfig config{
      {l.grid[0], l.grid[1], l.grid[2]}, {l.threads, 1, 1}, l.shared_bytes, stream_, attributes, 0};
  if (l.overlap) {
    LaunchAttribute& a = attributes[config.attribute_count++];
    a.id = kProgrammaticSerialization;
    a.value.programmatic_serialization = 1;
  }
  if (l.cluster > 1) {
    LaunchAttribute& a = attributes[config.attribute_count++];
    a.id = kClusterDimension;
    a.value.cluster = {l.cluster, 1, 1};
  }
  // A multiprocessor that divides its memory otherwise than for the launch before waits until it is
  // empty. Small launches, which overlap and hardly read anything twice, keep to one division;
  // large ones live on the cache, unless timing said otherwise.
  const auto multiprocessors = static_cast<unsigned>(device_->machine().multiprocessors);
  const bool small = uint64_t{l.grid[0]} * l.grid[1] * l.grid[2] <= kSmallLaunch * multiprocessors;
  if (device_->driver_version() >= kCarveoutVersion && (small || l.most_shared)) {
    LaunchAttribute& a = attributes[config.attribute_count++];
    a.id = kSharedCarveout;
    a.value.shared_carveout = 100;
  }
  check(api().cuLaunchKernelEx(&config, l.function, pointers, nullptr), "launching a kernel");
}
void Stream::launch(const Graph& graph) {
  check(api().cuGraphLaunch(graph.exec_, stream_), "launching a graph");
}

void Stream::begin_recording() {
  constexpr int kThreadLocal = 1;
  check(api().cuStreamBeginCapture_v2(stream_, kThreadLocal), "recording a graph");
}
std::unique_ptr<Graph> Stream::end_recording() {
  void *graph = nullptr, *exec = nullptr;
  check(api().cuStreamEndCapture(stream_, &graph), "recording a graph");
  const int status = api().cuGraphInstantiateWithFlags(&exec, graph, 0);
  api().cuGraphDestroy(graph);
  check(status, "making a graph");
  return std::unique_ptr<Graph>(new Graph(device_, exec));
}
void Stream::abandon_recording() noexcept {
  void* graph = nullptr;
  if (loaded().api.cuStreamEndCapture(stream_, &graph) == kSuccess && graph)
    loaded().api.cuGraphDestroy(graph);
}
void Stream::record(Event& event) {
  check(api().cuEventRecord(event.event_, stream_), "marking a place");
}
void Stream::wait() { check(api().cuStreamSynchronize(stream_), "waiting for the device"); }
void Stream::mark(int index) {
  check(api().cuEventRecord(events_[index], stream_), "marking a time");
}
void Stream::stamp(const Stamps& stamps, size_t index) {
  check(api().cuEventRecordWithFlags(stamps.events_.at(index), stream_, kRecordExternal),
        "stamping a graph");
}
double Stream::microseconds_between_marks() {
  check(api().cuEventSynchronize(events_[1]), "waiting for a mark");
  float milliseconds = 0;
  check(api().cuEventElapsedTime(&milliseconds, events_[0], events_[1]), "reading a time");
  return 1e3 * static_cast<double>(milliseconds);
}

}  // namespace vitrail::cuda
