// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/gpu.h"

// NVIDIA's driver, libcuda.so.1, loaded when first needed. The part of its C interface that is used
// is declared in driver_api.h: no header of the toolkit is needed to build, and a process that
// never asks for a GPU never loads the driver.
namespace vitrail::cuda {

struct Api;
/// The driver's functions; throws Error(resource) naming what was looked for when there is no
/// driver or no device.
const Api& api();
/// Throws Error(resource) with the driver's name for a status other than success. After a sticky
/// error (an illegal access, a lost device) the message says that the device is lost to the
/// process, and lost() is true from then on.
void check(int status, const char* what);
/// Whether an error has made the device unusable to this process; only another process helps.
bool lost();
/// Whether all of it is page-locked memory of the host, from and to which the device copies by
/// itself.
bool is_page_locked(const void* data, size_t bytes);

/// Number of devices; 0 where there is no driver.
int device_count();
/// "cuda" (device 0) or "cuda:N" to N; throws Error(usage) for other text.
int device_number(std::string_view name);

/// A device's primary context, kept as long as anybody holds it. Everything below belongs to one.
class Device : public std::enable_shared_from_this<Device> {
 public:
  /// Throws Error(resource) for a device that is not there.
  static std::shared_ptr<Device> open(int number);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const GpuMachine& machine() const { return machine_; }
  int number() const { return number_; }
  int driver_version() const { return driver_version_; }
  /// Makes the context the calling thread's; every function here that talks to the device does.
  /// Throws Error(resource) with the first failure once the device is lost.
  void enter() const;
  /// The same to give something back: false, and nothing is thrown.
  bool try_enter() const noexcept;

 private:
  explicit Device(int number);
  int number_;
  int driver_version_ = 0;
  void* context_ = nullptr;
  GpuMachine machine_;
};

/// Device memory. Grows only.
class Memory {
 public:
  explicit Memory(std::shared_ptr<Device> device) : device_(std::move(device)) {}
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  std::byte* data() const { return data_; }  ///< a device address
  size_t size() const { return size_; }
  /// At least `bytes`, contents lost when it grows; returns whether the address changed. Throws
  /// Error(resource) naming `what` and the sizes.
  bool reserve(size_t bytes, const char* what);

 private:
  std::shared_ptr<Device> device_;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// Page-locked host memory, for copies that need not wait.
class Staging {
 public:
  explicit Staging(std::shared_ptr<Device> device) : device_(std::move(device)) {}
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  /// As Memory::reserve, of what the system lets be locked.
  void reserve(size_t bytes, const char* what);

 private:
  std::shared_ptr<Device> device_;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

class Stream;

/// A place in a stream.
class Event {
 public:
  explicit Event(std::shared_ptr<Device> device);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  /// Until what was in the stream at the last Stream::record has ended; at once before the first.
  void wait() const;

 private:
  friend class Stream;
  std::shared_ptr<Device> device_;
  void* event_ = nullptr;
};

/// Loaded machine code.
class Module {
 public:
  /// Throws Error(wrong_target) for code of another architecture.
  Module(std::shared_ptr<Device> device, const void* cubin);
  ~Module();
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  /// The entry, allowed `shared_bytes` of dynamic shared memory. Throws Error(bad_input) when the
  /// module has none of that name.
  void* function(const std::string& entry, int64_t shared_bytes) const;

 private:
  std::shared_ptr<Device> device_;
  void* module_ = nullptr;
};

/// A launch with its numbers. Every parameter is 8 bytes.
struct KernelLaunch {
  void* function = nullptr;
  unsigned grid[3] = {1, 1, 1};
  unsigned threads = 1;
  unsigned shared_bytes = 0;
  unsigned cluster = 1;
  std::span<const uint64_t> parameters;
  bool overlap = false;  ///< may start before the launch ahead of it has ended
  /// A multiprocessor's memory is shared memory as far as possible, whatever the launch's size.
  bool most_shared = false;
};

/// A recorded run of launches.
class Graph {
 public:
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

 private:
  friend class Stream;
  Graph(std::shared_ptr<Device> device, void* exec) : device_(std::move(device)), exec_(exec) {}
  std::shared_ptr<Device> device_;
  void* exec_;
};

/// Times that a recorded graph takes of itself; each replay takes them anew.
class Stamps {
 public:
  explicit Stamps(std::shared_ptr<Device> device) : device_(std::move(device)) {}
  ~Stamps();
  Stamps(const Stamps&) = delete;
  Stamps& operator=(const Stamps&) = delete;
  void reserve(size_t count);
  /// Of the last replay, for which it waits. The device counts in steps of about 0.03 microseconds.
  double microseconds(size_t from, size_t to) const;

 private:
  friend class Stream;
  std::shared_ptr<Device> device_;
  std::vector<void*> events_;
};

class Stream {
 public:
  explicit Stream(std::shared_ptr<Device> device);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  const Device& device() const { return *device_; }
  void* handle() const { return stream_; }  ///< the driver's, for libraries
  /// Asynchronous; pageable host memory makes them wait.
  void upload(std::byte* to, const void* from, size_t bytes);
  void download(void* to, const std::byte* from, size_t bytes);
  void copy(std::byte* to, const std::byte* from, size_t bytes);
  void fill(std::byte* to, int value, size_t bytes);
  void launch(const KernelLaunch& launch);
  void launch(const Graph& graph);
  /// Between begin_recording() and end_recording() launches and copies are recorded, not run.
  void begin_recording();
  std::unique_ptr<Graph> end_recording();
  /// Ends a recording that failed.
  void abandon_recording() noexcept;
  /// While recording: a stamp taken when everything recorded before has ended.
  void stamp(const Stamps& stamps, size_t index);
  void record(Event& event);
  /// Waits for everything before.
  void wait();
  /// Time marks on the stream.
  void mark(int index);                 ///< 0 or 1
  double microseconds_between_marks();  ///< waits for mark 1

 private:
  std::shared_ptr<Device> device_;
  void* stream_ = nullptr;
  void* events_[2] = {nullptr, nullptr};
};

}  // namespace vitrail::cuda
