// SPDX-License-Identifier: Apache-2.0
#include "kernels/trial.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <thread>

#include "kernels/reference.h"
#include "kernels/work.h"

namespace vitrail {
namespace {
// An odd distance to the allocation's aligned start: windows are not aligned in general.
constexpr int64_t kMargin = 67;
constexpr auto kPoison = std::byte{0xff};  // NaN in every floating type

std::vector<int64_t> offsets_of(const BoundOperand& operand) {
  std::vector<int64_t> out;
  out.reserve(static_cast<size_t>(element_count(operand.dims)));
  const auto size = static_cast<int64_t>(size_of(operand.dtype));
  for_each_index(operand.dims, [&](const Dims& index) {
    int64_t at = 0;
    for (size_t i = 0; i < index.size(); ++i) at += index[i] * operand.strides[i];
    out.push_back(at * size);
  });
  return out;
}

void fill(std::byte* to, DType dtype, std::mt19937_64& random) {
  if (is_float(dtype)) {
    const double value = std::uniform_real_distribution<double>(-1, 1)(random);
    const Tensor one = Tensor::of<double>({1}, {value}).cast(dtype);
    std::memcpy(to, one.raw(), size_of(dtype));
  } else if (dtype == DType::boolean) {
    *to = std::byte{static_cast<unsigned char>(random() & 1)};
  } else {
    const uint64_t bits = random();
    std::memcpy(to, &bits, size_of(dtype));
  }
}
}  // namespace

Bindings random_bindings(const Problem& problem, std::mt19937_64& random) {
  std::set<std::string> symbols;
  for (const auto* list : {&problem.inputs, &problem.outputs})
    for (const Operand& operand : *list) {
      for (const Expr& e : operand.dims) e.collect_symbols(symbols);
      for (const Expr& e : operand.strides) e.collect_symbols(symbols);
    }
  Bindings out;
  for (const std::string& s : symbols)
    out[s] = std::uniform_int_distribution<int64_t>(1, 40)(random);
  return out;
}

Trial::Window Trial::make(const BoundOperand& operand) const {
  Window window;
  window.operand = operand;
  for (int64_t stride : operand.strides)
    require(stride >= 0, Code::internal, "a trial needs strides of at least 0, found {}",
            to_string(operand.strides));
  window.offsets = offsets_of(operand);
  const auto size = static_cast<int64_t>(size_of(operand.dtype));
  const int64_t last =
      window.offsets.empty() ? 0 : *std::max_element(window.offsets.begin(), window.offsets.end());
  window.first = kMargin * size;
  window.memory.assign(static_cast<size_t>(last + size + 2 * kMargin * size), kPoison);
  return window;
}

Trial::Trial(const Pack& pack, const BoundProblem& problem, uint64_t seed) {
  std::mt19937_64 random(seed);
  for (size_t i = 0; i < problem.inputs.size(); ++i) {
    Window window = make(problem.inputs[i]);
    std::vector<int64_t> places = window.offsets;
    std::sort(places.begin(), places.end());
    places.erase(std::unique(places.begin(), places.end()), places.end());
    for (int64_t at : places)
      fill(window.memory.data() + window.first + at, window.operand.dtype, random);
    if (window.operand.constant && pack) {
      const Tensor raw = dense(window, false);
      const Tensor packed = pack(*problem.problem, i, raw);
      if (packed.raw() != raw.raw()) window.packed = packed;
    }
    window.pristine = window.memory;
    inputs_.push_back(std::move(window));
  }
  for (const BoundOperand& operand : problem.outputs) {
    Window window = make(operand);
    std::vector<int64_t> places = window.offsets;
    std::sort(places.begin(), places.end());
    require(std::adjacent_find(places.begin(), places.end()) == places.end(), Code::internal,
            "elements of an output coincide: {} with strides {}", to_string(operand.dims),
            to_string(operand.strides));
    window.pristine = window.memory;
    window.spare = problem.problem->integer(fmt::format("spare_out{}", outputs_.size()), 0);
    outputs_.push_back(std::move(window));
  }
  for (Window& w : inputs_)
    input_pointers_.push_back(w.packed.defined() ? w.packed.raw() : w.memory.data() + w.first);
  for (Window& w : outputs_) output_pointers_.push_back(w.memory.data() + w.first);
}

Tensor Trial::dense(const Window& window, bool widen) const {
  Tensor out(window.operand.dtype, window.operand.dims);
  const size_t size = size_of(window.operand.dtype);
  auto* to = static_cast<std::byte*>(out.mutable_raw());
  for (size_t i = 0; i < window.offsets.size(); ++i)
    std::memcpy(to + i * size, window.memory.data() + window.first + window.offsets[i], size);
  return widen && is_float(window.operand.dtype) ? out.cast(DType::f64) : out;
}

std::vector<Tensor> Trial::dense_inputs() const {
  std::vector<Tensor> out;
  for (const Window& w : inputs_) out.push_back(dense(w, true));
  return out;
}
std::vector<Tensor> Trial::empty_outputs() const {
  std::vector<Tensor> out;
  for (const Window& w : outputs_)
    out.emplace_back(is_float(w.operand.dtype) ? DType::f64 : w.operand.dtype, w.operand.dims);
  return out;
}
std::vector<Tensor> Trial::outputs() const {
  std::vector<Tensor> out;
  for (const Window& w : outputs_) out.push_back(dense(w, false));
  return out;
}
Trial::Region Trial::input_region(size_t index) {
  Window& w = inputs_.at(index);
  if (w.packed.defined())
    return {static_cast<std::byte*>(w.packed.mutable_raw()), w.packed.bytes(), 0};
  return {w.memory.data(), w.memory.size(), w.first};
}
Trial::Region Trial::output_region(size_t index) {
  Window& w = outputs_.at(index);
  return {w.memory.data(), w.memory.size(), w.first};
}
void Trial::reset_outputs() {
  // In place: args() hands out addresses.
  for (Window& w : outputs_) std::copy(w.pristine.begin(), w.pristine.end(), w.memory.begin());
}

int64_t Trial::damaged_bytes() const {
  int64_t damage = 0;
  for (const Window& w : inputs_)
    for (size_t i = 0; i < w.memory.size(); ++i) damage += w.memory[i] != w.pristine[i];
  for (const Window& w : outputs_) {
    std::vector<std::byte> now = w.memory;
    const size_t size = size_of(w.operand.dtype);
    const int64_t columns = w.operand.dims.empty() ? 1 : w.operand.dims.back();
    for (size_t i = 0; i < w.offsets.size(); ++i) {
      const bool row_ends = static_cast<int64_t>(i) % columns == columns - 1;
      std::memset(now.data() + w.first + w.offsets[i], static_cast<int>(kPoison),
                  size * (1 + (row_ends ? static_cast<size_t>(w.spare) : 0)));
    }
    for (size_t i = 0; i < now.size(); ++i) damage += now[i] != w.pristine[i];
  }
  return damage;
}

double Trial::traffic_bytes() const {
  double bytes = 0;
  for (const auto* list : {&inputs_, &outputs_})
    for (const Window& w : *list) bytes += bytes_of(w.operand);
  return bytes;
}

bool run_launch(const CpuKernel& kernel, const BoundProblem& problem, const Launch& launch,
                const KernelArgs& args, int threads, uint64_t seed) {
  constexpr size_t kAlign = 64, kGuard = 256;
  const auto memory = [](size_t bytes) {
    std::unique_ptr<std::byte[], decltype(&std::free)> out(
        static_cast<std::byte*>(std::aligned_alloc(kAlign, (bytes + 2 * kGuard) / kAlign * kAlign)),
        &std::free);
    std::memset(out.get(), static_cast<int>(kPoison), bytes + kGuard);
    return out;
  };
  const auto intact = [](const std::byte* guard) {
    return std::all_of(guard, guard + kGuard, [](std::byte b) { return b == kPoison; });
  };
  const auto shared = memory(launch.shared_bytes);
  std::vector<decltype(memory(0))> scratch;
  for (int t = 0; t < threads; ++t) scratch.push_back(memory(launch.scratch_bytes));
  std::vector<int64_t> order(static_cast<size_t>(launch.tasks));
  std::iota(order.begin(), order.end(), 0);
  std::vector<int64_t> ends = launch.phase_ends;
  if (ends.empty()) ends = {launch.tasks};
  std::mt19937_64 random(seed);
  int64_t begin = 0;
  for (int64_t end : ends) {
    if (seed != 0) std::shuffle(order.begin() + begin, order.begin() + end, random);
    std::atomic<int64_t> next{begin};
    const auto work = [&](size_t worker) {
      for (int64_t i = next++; i < end; i = next++)
        kernel.run(problem, launch, args, order[static_cast<size_t>(i)], scratch[worker].get(),
                   shared.get());
    };
    std::vector<std::thread> others;
    for (int t = 1; t < threads; ++t) others.emplace_back(work, static_cast<size_t>(t));
    work(0);
    for (std::thread& t : others) t.join();
    begin = end;
  }
  bool good = intact(shared.get() + launch.shared_bytes);
  for (const auto& s : scratch) good &= intact(s.get() + launch.scratch_bytes);
  return good;
}

}  // namespace vitrail
