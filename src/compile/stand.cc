// SPDX-License-Identifier: Apache-2.0
#include "compile/stand.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/error.h"
#include "base/machine.h"
#include "compare/difference.h"
#include "plan/validate.h"

namespace vitrail {
namespace {

constexpr int64_t kLine = 64, kMostBytes = int64_t{1} << 30, kMostSets = 64;

int64_t round_up(int64_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

// Numbers uniform in [-1, 1]; other types get zeros and ones, legal for booleans too.
void fill(std::byte* to, DType dtype, int64_t bytes) {
  constexpr int64_t kPattern = 4096;
  const Tensor pattern = is_float(dtype) ? random_tensor(dtype, {kPattern}, 1, -1, 1)
                                         : random_tensor(dtype, {kPattern}, 1, 0, 2);
  const auto whole = static_cast<int64_t>(pattern.bytes());
  for (int64_t at = 0; at < bytes; at += whole)
    std::memcpy(to + at, pattern.raw(), static_cast<size_t>(std::min(whole, bytes - at)));
}

}  // namespace

Stand::Window Stand::window(const BoundOperand& operand) {
  const Span span = span_of(operand.dims, operand.strides);
  const auto size = static_cast<int64_t>(size_of(operand.dtype));
  Window out;
  out.first = -span.first * size;
  out.bytes = (span.last - span.first + 1) * size;
  return out;
}

Stand::Stand(const BoundProblem& problem, const std::vector<Tensor>& weights, cpu::Lease& lease)
    : problem_(problem), lease_(lease) {
  int64_t varying = 0;
  const auto add = [&](Window w, std::vector<Window>& to) {
    w.at = set_bytes_;
    require(w.bytes <= kMostBytes && (set_bytes_ += round_up(w.bytes)) <= kMostBytes,
            Code::resource, "operands above {} bytes", kMostBytes);
    to.push_back(w);
  };
  for (size_t i = 0; i < problem.inputs.size(); ++i) {
    Window w = window(problem.inputs[i]);
    w.varies = !weights[i].defined();
    if (w.varies)
      varying += w.bytes;
    else
      w = {.first = 0, .bytes = static_cast<int64_t>(weights[i].bytes())};
    add(w, inputs_);
  }
  for (const BoundOperand& operand : problem.outputs) add(window(operand), outputs_);
  const int64_t caches = this_machine().l2_bytes * lease.workers();
  sets_ = static_cast<int>(
      std::clamp<int64_t>(2 * caches / std::max<int64_t>(set_bytes_, 1), 1, kMostSets));
  touches_ = 2 * varying <= caches;
  memory_.reserve(static_cast<size_t>(set_bytes_ * sets_), "operands that kernels are timed on");
  for (int s = 0; s < sets_; ++s)
    for (size_t i = 0; i < inputs_.size(); ++i) {
      std::byte* const to = memory_.data() + s * set_bytes_ + inputs_[i].at;
      if (inputs_[i].varies)
        fill(to, problem.inputs[i].dtype, inputs_[i].bytes);
      else
        std::memcpy(to, weights[i].raw(), weights[i].bytes());
    }
}

// As the step before would have: each worker writes its contiguous share.
void Stand::touch(std::byte* set) {
  for (const Window& w : inputs_) {
    if (!w.varies) continue;
    const int64_t share = round_up(w.bytes / lease_.workers() + 1);
    lease_.parallel(lease_.workers(), [&](int64_t task, int) {
      for (int64_t at = task * share; at < std::min((task + 1) * share, w.bytes); at += kLine) {
        auto* const byte = reinterpret_cast<volatile std::byte*>(set + w.at + at);
        *byte = *byte;
      }
    });
  }
}

double Stand::run(const CpuKernel& kernel, const Launch& launch) {
  const size_t stride = (launch.scratch_bytes + 63) / 64 * 64;
  scratch_.reserve(stride * static_cast<size_t>(lease_.workers()), "scratch of a timed kernel");
  shared_.reserve(launch.shared_bytes, "shared scratch of a timed kernel");
  std::byte* const set = memory_.data() + next_ * set_bytes_;
  next_ = (next_ + 1) % sets_;
  std::vector<const void*> in;
  std::vector<void*> out;
  for (const Window& w : inputs_) in.push_back(set + w.at + w.first);
  for (const Window& w : outputs_) out.push_back(set + w.at + w.first);
  if (touches_) touch(set);
  const KernelArgs args{in.data(), out.data()};
  const auto start = std::chrono::steady_clock::now();
  lease_.parallel(launch.tasks, launch.phase_ends, [&](int64_t task, int worker) {
    kernel.run(problem_, launch, args, task, scratch_.data() + static_cast<size_t>(worker) * stride,
               shared_.data());
  });
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
      .count();
}

}  // namespace vitrail
