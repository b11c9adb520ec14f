// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backends/cuda/driver.h"
#include "base/tensor.h"
#include "plan/plan.h"
#include "runtime/binding.h"

namespace vitrail {

namespace cpu {
class Lease;
}

/// The segments recorded for a binding, and the addresses they are good for.
struct DeviceGraphs {
  uint64_t generation = 0;
  std::map<int, std::unique_ptr<cuda::Graph>> graphs, stamped;
};

/// The GPU's part of an executor: its memory, loaded code, one stream, recorded segments. Addresses
/// handed out are the device's.
class DeviceRun {
 public:
  /// Loads the plan's code and uploads its constants. `device`: "cuda" or "cuda:N". Throws
  /// Error(resource) without a driver, a device or a library that the plan calls,
  /// Error(wrong_target) for a plan for another architecture.
  DeviceRun(const Plan& plan, const std::string& device);
  /// Waits for what is under way.
  ~DeviceRun();

  const GpuMachine& machine() const { return device_->machine(); }
  std::byte* constant(int index) const { return constants_.data() + constant_at_[index]; }
  /// Gets memory for a binding; recorded segments are forgotten when an address changes.
  void reserve(const Binding& binding);
  std::byte* arena() const { return arena_.data(); }
  std::byte* input(int io) const { return inputs_[io]->data(); }
  std::byte* output(int io) const { return outputs_[io]->data(); }
  int64_t arena_bytes() const { return static_cast<int64_t>(arena_.size()); }
  int64_t workspace_bytes() const {
    return static_cast<int64_t>(workspace_.size() + counters_.size());
  }

  void poison();
  /// Page-locked memory is read while the stream runs; any other has been read when
  /// this returns: it goes piece by piece through page-locked memory, copied by the lease's workers
  /// while the piece before is on its way.
  void upload_inputs(const std::vector<std::pair<const void*, size_t>>& inputs, cpu::Lease& lease);
  /// From the device. True: `to` is page-locked and is written while the stream runs. False:
  /// nothing was done, see download.
  bool begin_download(void* to, const std::byte* from, size_t bytes);
  /// The same way for any memory, done when this returns. Null: the calling thread alone.
  void download(void* to, const std::byte* from, size_t bytes, cpu::Lease* lease);
  void wait() { stream_.wait(); }
  /// The same after a failure, of which nothing more is told.
  void settle() noexcept;
  /// Page-locked memory for an output of the session's own.
  std::byte* result(size_t io, size_t bytes);
  int64_t result_bytes() const;
  const std::shared_ptr<cuda::Device>& device() const { return device_; }

  /// Dense copy of a window on the device, once everything before has ended; and the reverse.
  Tensor read(const std::byte* from, DType dtype, const View& view);
  void write(std::byte* to, const View& view, const Tensor& dense);

  /// Prepares the calls of libraries among a step's launches: not while a segment is recorded,
  /// which forbids what libraries do when they start.
  void prepare(const BoundStep& step, const KernelChoice& choice);
  /// One prepared step's launches. `addresses`: of its inputs, then its outputs. `overlap`: the
  /// first may start before what is ahead of it in the stream, a launch, has ended, unless the
  /// choice says otherwise of all its launches.
  void launch(const BoundStep& step, const KernelChoice& choice,
              const std::vector<std::byte*>& addresses, bool overlap);
  /// Runs `body`, which only launches, through a graph recorded the first time; before that,
  /// `prepare` prepares its steps.
  template <typename Prepare, typename Body>
  void segment(Binding& binding, int first, const Prepare& prepare, const Body& body) {
    std::unique_ptr<cuda::Graph>& graph = graphs_of(binding).graphs[first];
    if (!graph) {
      prepare();
      graph = record(body);
    }
    stream_.launch(*graph);
  }
  /// A graph of what `body` launches and stamps; its steps have been prepared.
  template <typename Body>
  std::unique_ptr<cuda::Graph> record(const Body& body) {
    stream_.begin_recording();
    try {
      body();
    } catch (...) {
      stream_.abandon_recording();
      throw;
    }
    return stream_.end_recording();
  }
  void replay(const cuda::Graph& graph) { stream_.launch(graph); }
  /// Stamps of the graph replayed last, for tracing; made before the recording that takes them.
  void reserve_stamps(size_t count) { stamps_.reserve(count); }
  void stamp(size_t index) { stream_.stamp(stamps_, index); }
  double between_stamps(size_t from, size_t to) { return stamps_.microseconds(from, to); }
  /// As segment(), with `body`'s stamps in the graph.
  template <typename Prepare, typename Body>
  void stamped_segment(Binding& binding, int first, const Prepare& prepare, const Body& body) {
    std::unique_ptr<cuda::Graph>& graph = graphs_of(binding).stamped[first];
    if (!graph) {
      prepare();
      graph = record(body);
    }
    stream_.launch(*graph);
  }
  /// Writes that much memory, of no use to anybody.
  void evict(size_t bytes);
  void mark(int index) { stream_.mark(index); }
  double microseconds() { return stream_.microseconds_between_marks(); }

 private:
  DeviceGraphs& graphs_of(Binding& binding);
  void find_libraries(const Plan& plan) const;
  void call(cuda::LibraryOperation& operation, const std::vector<std::byte*>& addresses);

  std::shared_ptr<cuda::Device> device_;
  cuda::Stream stream_;
  cuda::Stamps stamps_;
  std::vector<std::unique_ptr<cuda::Module>> modules_;
  std::map<std::pair<int, std::string>, void*> functions_;
  std::vector<size_t> constant_at_;
  cuda::Memory constants_, arena_, workspace_, counters_, evicting_;
  std::vector<std::unique_ptr<cuda::Memory>> inputs_, outputs_;
  std::vector<std::unique_ptr<cuda::Staging>> results_;
  /// Where pieces of pageable memory wait; a slot is free when its event has come.
  static constexpr size_t kSlots = 4;
  struct Slot {
    explicit Slot(const std::shared_ptr<cuda::Device>& device) : memory(device), ended(device) {}
    cuda::Staging memory;
    cuda::Event ended;
  };
  std::vector<std::unique_ptr<Slot>> slots_;
  Slot& free_slot(size_t piece, size_t bytes);
  std::vector<uint64_t> parameters_;
  uint64_t generation_ = 1;  ///< counts changes of addresses
  bool after_call_ = false;  ///< the latest launch was a library's
};

}  // namespace vitrail
