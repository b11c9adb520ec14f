// SPDX-License-Identifier: Apache-2.0
#include "runtime/device_run.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/pool.h"
#include "base/error.h"
#include "base/log.h"
#include "plan/validate.h"

namespace vitrail {
namespace {
constexpr size_t kAlign = 256;
size_t aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// A piece of pageable memory takes as long on the bus as a copy by all workers of a large host,
// some 80 us; below kShared waking them takes longer than copying.
constexpr size_t kPiece = size_t{4} << 20, kShare = size_t{256} << 10, kShared = size_t{1} << 20;

void copy_shared(std::byte* to, const std::byte* from, size_t bytes, cpu::Lease* lease) {
  if (!lease || lease->workers() == 1 || bytes < kShared) {
    std::memcpy(to, from, bytes);
    return;
  }
  lease->parallel(static_cast<int64_t>((bytes + kShare - 1) / kShare), [&](int64_t task, int) {
    const size_t at = static_cast<size_t>(task) * kShare;
    std::memcpy(to + at, from + at, std::min(kShare, bytes - at));
  });
}
}  // namespace

DeviceRun::DeviceRun(const Plan& plan, const std::string& device)
    : device_(cuda::Device::open(cuda::device_number(device))),
      stream_(device_),
      stamps_(device_),
      constants_(device_),
      arena_(device_),
      workspace_(device_),
      counters_(device_),
      evicting_(device_) {
  const std::string mine = "cuda:" + machine().architecture();
  require(plan.target == mine, Code::wrong_target,
          "the plan is for '{}', {} needs '{}': build it again with --arch {}",
          printable(plan.target), machine().model, mine, machine().architecture());
  find_libraries(plan);
  for (const Tensor& m : plan.modules)
    modules_.push_back(std::make_unique<cuda::Module>(device_, m.raw()));
  size_t bytes = 0;
  for (const Tensor& c : plan.constants) {
    constant_at_.push_back(bytes);
    bytes += aligned(c.bytes());
  }
  constants_.reserve(std::max(bytes, kAlign), "the plan's weights");
  for (size_t i = 0; i < plan.constants.size(); ++i)
    stream_.upload(constant(static_cast<int>(i)), plan.constants[i].raw(),
                   plan.constants[i].bytes());
  for (size_t i = 0; i < plan.inputs.size(); ++i)
    inputs_.push_back(std::make_unique<cuda::Memory>(device_));
  for (size_t i = 0; i < plan.outputs.size(); ++i) {
    outputs_.push_back(std::make_unique<cuda::Memory>(device_));
    results_.push_back(std::make_unique<cuda::Staging>(device_));
  }
  stream_.wait();
}
DeviceRun::~DeviceRun() { settle(); }

void DeviceRun::settle() noexcept {
  try {
    stream_.wait();
  } catch (const Error&) {  // told by the run that failed
  }
}

void DeviceRun::find_libraries(const Plan& plan) const {
  std::map<std::string, int64_t> called;
  for_each_step(plan.steps, [&](const Step& step) {
    for (const KernelChoice& choice : step.choices)
      for (const GpuLaunch& launch : choice.launches)
        if (launch.library) called[launch.library->library] = launch.library->version;
  });
  for (const auto& [name, version] : called) {
    cuda::require_library(name);
    const int64_t here = cuda::library(name).version;
    if (here != version)
      log_warning("the plan was tuned with {}, here is {}: times may differ",
                  cuda::version_text(name, version), cuda::version_text(name, here));
  }
}

void DeviceRun::reserve(const Binding& binding) {
  device_->enter();
  // Counted at each move, not once at the end: when a later reservation fails, recorded graphs must
  // not outlive an address.
  const auto grow = [&](cuda::Memory& memory, size_t bytes, const char* what) {
    const bool moved = memory.reserve(std::max(bytes, kAlign), what);
    generation_ += moved;
    return moved;
  };
  grow(arena_, static_cast<size_t>(binding.arena_bytes()), "a session's arena");
  grow(workspace_, binding.scratch_bytes(), "a session's workspace");
  if (grow(counters_, binding.shared_bytes(), "a session's counters"))
    stream_.fill(counters_.data(), 0, counters_.size());
  const Plan& plan = binding.program().plan();
  for (size_t i = 0; i < plan.buffers.size(); ++i) {
    const PlanBuffer& b = plan.buffers[i];
    const auto bytes = static_cast<size_t>(binding.buffer_bytes(static_cast<int>(i)));
    if (b.kind == PlanBuffer::Kind::input) grow(*inputs_[b.io], bytes, "an input");
    if (b.kind == PlanBuffer::Kind::output) grow(*outputs_[b.io], bytes, "an output");
  }
}

DeviceGraphs& DeviceRun::graphs_of(Binding& binding) {
  if (!binding.device_graphs) binding.device_graphs = std::make_shared<DeviceGraphs>();
  auto& mine = *std::static_pointer_cast<DeviceGraphs>(binding.device_graphs);
  if (mine.generation != generation_) mine.graphs.clear(), mine.stamped.clear();
  mine.generation = generation_;
  return mine;
}

void DeviceRun::poison() {
  constexpr int kNan = 0xFF;
  stream_.fill(arena_.data(), kNan, arena_.size());
  stream_.fill(workspace_.data(), kNan, workspace_.size());
  for (const auto& out : outputs_) stream_.fill(out->data(), kNan, out->size());
}

void DeviceRun::evict(size_t bytes) {
  evicting_.reserve(bytes, "what drives other memory out of the cache");
  stream_.fill(evicting_.data(), 0, bytes);
}

DeviceRun::Slot& DeviceRun::free_slot(size_t piece, size_t bytes) {
  while (slots_.size() <= piece % kSlots) slots_.push_back(std::make_unique<Slot>(device_));
  Slot& out = *slots_[piece % kSlots];
  out.ended.wait();
  out.memory.reserve(bytes, "a session's staging");
  return out;
}

void DeviceRun::upload_inputs(const std::vector<std::pair<const void*, size_t>>& inputs,
                              cpu::Lease& lease) {
  size_t piece = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto [data, bytes] = inputs[i];
    std::byte* const to = inputs_[i]->data();
    if (cuda::is_page_locked(data, bytes)) {
      stream_.upload(to, data, bytes);
      continue;
    }
    for (size_t at = 0; at < bytes; at += kPiece) {
      const size_t size = std::min(kPiece, bytes - at);
      Slot& slot = free_slot(piece++, size);
      copy_shared(slot.memory.data(), static_cast<const std::byte*>(data) + at, size, &lease);
      stream_.upload(to + at, slot.memory.data(), size);
      stream_.record(slot.ended);
    }
  }
}

bool DeviceRun::begin_download(void* to, const std::byte* from, size_t bytes) {
  if (bytes > 0 && !cuda::is_page_locked(to, bytes)) return false;
  stream_.download(to, from, bytes);
  return true;
}

void DeviceRun::download(void* to, const std::byte* from, size_t bytes, cpu::Lease* lease) {
  const size_t pieces = (bytes + kPiece - 1) / kPiece;
  const auto size = [&](size_t piece) { return std::min(kPiece, bytes - piece * kPiece); };
  const auto begin = [&](size_t piece) {
    Slot& slot = free_slot(piece, size(piece));
    stream_.download(slot.memory.data(), from + piece * kPiece, size(piece));
    stream_.record(slot.ended);
  };
  for (size_t piece = 0; piece < std::min(kSlots, pieces); ++piece) begin(piece);
  for (size_t piece = 0; piece < pieces; ++piece) {
    const Slot& full = *slots_[piece % kSlots];
    full.ended.wait();
    copy_shared(static_cast<std::byte*>(to) + piece * kPiece, full.memory.data(), size(piece),
                lease);
    if (piece + kSlots < pieces) begin(piece + kSlots);
  }
}

std::byte* DeviceRun::result(size_t io, size_t bytes) {
  results_[io]->reserve(std::max(bytes, kAlign), "a session's output");
  return results_[io]->data();
}
int64_t DeviceRun::result_bytes() const {
  size_t out = 0;
  for (const auto& r : results_) out += r->size();
  return static_cast<int64_t>(out);
}

Tensor DeviceRun::read(const std::byte* from, DType dtype, const View& view) {
  device_->enter();
  Tensor out(dtype, view.dims);
  const Span span = span_of(view.dims, view.strides);
  if (span.last < span.first) return out;
  const auto element = static_cast<int64_t>(size_of(dtype));
  std::vector<std::byte> window(static_cast<size_t>((span.last - span.first + 1) * element));
  download(window.data(), from + span.first * element, window.size(), nullptr);
  copy_window(static_cast<std::byte*>(out.mutable_raw()), row_major(view.dims),
              window.data() - span.first * element, view.strides, view.dims, size_of(dtype));
  return out;
}

void DeviceRun::write(std::byte* to, const View& view, const Tensor& dense) {
  device_->enter();
  const Span span = span_of(view.dims, view.strides);
  if (span.last < span.first) return;
  const auto element = static_cast<int64_t>(size_of(dense.dtype()));
  std::vector<std::byte> window(static_cast<size_t>((span.last - span.first + 1) * element));
  // What lies between the window's elements stays as it is.
  if (!view.dense()) download(window.data(), to + span.first * element, window.size(), nullptr);
  copy_window(window.data() - span.first * element, view.strides,
              static_cast<const std::byte*>(dense.raw()), row_major(view.dims), view.dims,
              size_of(dense.dtype()));
  stream_.upload(to + span.first * element, window.data(), window.size());
  stream_.wait();
}

void DeviceRun::launch(const BoundStep& step, const KernelChoice& choice,
                       const std::vector<std::byte*>& addresses, bool overlap) {
  for (size_t i = 0; i < step.device.size(); ++i) {
    const DeviceLaunch& bound = step.device[i];
    if (bound.grid[0] == 0 || bound.grid[1] == 0 || bound.grid[2] == 0) continue;
    const GpuLaunch& launch = choice.launches[i];
    if (launch.library) {
      call(*bound.operation, addresses);
      continue;
    }
    void*& function = functions_[{choice.module, launch.entry}];
    if (!function) function = modules_[choice.module]->function(launch.entry, launch.shared_bytes);
    parameters_.clear();
    for (std::byte* address : addresses) parameters_.push_back(reinterpret_cast<uint64_t>(address));
    parameters_.push_back(reinterpret_cast<uint64_t>(workspace_.data()));
    parameters_.push_back(reinterpret_cast<uint64_t>(counters_.data()));
    for (const int64_t n : bound.numbers) parameters_.push_back(static_cast<uint64_t>(n));
    stream_.launch({.function = function,
                    .grid = {bound.grid[0], bound.grid[1], bound.grid[2]},
                    .threads = static_cast<unsigned>(launch.threads),
                    .shared_bytes = static_cast<unsigned>(launch.shared_bytes),
                    .cluster = static_cast<unsigned>(launch.cluster),
                    .parameters = parameters_,
                    .overlap = overlap && !choice.full_edge && !after_call_ && machine().sm >= 90,
                    .most_shared = choice.division == Division::shared});
    overlap = true;
    after_call_ = false;
  }
}

void DeviceRun::prepare(const BoundStep& step, const KernelChoice& choice) {
  for (size_t i = 0; i < step.device.size(); ++i) {
    const DeviceLaunch& bound = step.device[i];
    if (!choice.launches[i].library || bound.operation) continue;
    const size_t operands = step.problem.inputs.size() + step.problem.outputs.size() + 1;
    bound.operation =
        cuda::prepare_call(device_, *choice.launches[i].library, bound.call, operands);
  }
}

// A library's kernels neither wait for a predecessor that has not ended nor tell when a successor
// may start: both edges are full ones.
void DeviceRun::call(cuda::LibraryOperation& operation, const std::vector<std::byte*>& addresses) {
  parameters_.clear();
  for (std::byte* address : addresses) parameters_.push_back(reinterpret_cast<uint64_t>(address));
  parameters_.push_back(reinterpret_cast<uint64_t>(workspace_.data()));
  operation.launch(stream_, parameters_);
  after_call_ = true;
}

}  // namespace vitrail
