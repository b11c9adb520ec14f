// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <functional>
#include <random>
#include <vector>

#include "kernels/kernel.h"

namespace vitrail {

/// Extents of 1 to 40 for every symbol of the problem.
Bindings random_bindings(const Problem& problem, std::mt19937_64& random);

/// Operands of one problem laid out as its strides say, each in a larger buffer: for tests and
/// benchmarks of kernels. Inputs are uniform in [-1, 1]; everything around the windows, and the
/// outputs, is poisoned (NaN for floats), so that a read or write outside shows.
class Trial {
 public:
  /// Throws Error(internal) when a window has negative strides or elements that coincide in an
  /// output.
  Trial(const KernelFamily& family, const BoundProblem& problem, uint64_t seed)
      : Trial(family.pack, problem, seed) {}
  /// With another packing of constants; empty: none.
  using Pack = std::function<Tensor(const Problem&, size_t, const Tensor&)>;
  Trial(const Pack& pack, const BoundProblem& problem, uint64_t seed);

  /// Dense copies of the inputs: floating types as f64, what the family's reference takes.
  std::vector<Tensor> dense_inputs() const;
  /// Outputs preset with their extents, as the family's reference takes them.
  std::vector<Tensor> empty_outputs() const;
  /// Dense copies of what the outputs' windows hold now, in their own types.
  std::vector<Tensor> outputs() const;
  KernelArgs args() const { return {input_pointers_.data(), output_pointers_.data()}; }
  /// The memory around an operand's window, for a copy elsewhere; element 0 is `first` bytes after
  /// its start. A packed constant is its own window.
  struct Region {
    std::byte* data;
    size_t bytes;
    int64_t first;
  };
  Region input_region(size_t index);
  Region output_region(size_t index);
  /// Poisons the outputs again, before another run.
  void reset_outputs();
  /// Number of bytes outside the outputs' windows (and what the problem's ints call spare of them)
  /// that are no longer what they were, plus bytes of inputs that changed.
  int64_t damaged_bytes() const;
  /// Bytes of the elements of all windows, each address counted once.
  double traffic_bytes() const;

 private:
  struct Window {
    BoundOperand operand;
    std::vector<std::byte> memory, pristine;
    int64_t first = 0;             // byte of element 0 in memory
    int64_t spare = 0;             // elements after each row that may be overwritten
    std::vector<int64_t> offsets;  // bytes of each element after element 0, row-major
    Tensor packed;                 // of a constant that the family packs
  };
  Window make(const BoundOperand& operand) const;
  Tensor dense(const Window& window, bool widen) const;
  std::vector<Window> inputs_, outputs_;
  std::vector<const void*> input_pointers_;
  std::vector<void*> output_pointers_;
};

/// Runs all tasks of a launch in the order given by `seed` (0: in order) on `threads` threads,
/// phase by phase. Scratch and shared memory start out poisoned and end in guard bytes; returns
/// false when a guard was overwritten.
bool run_launch(const CpuKernel& kernel, const BoundProblem& problem, const Launch& launch,
                const KernelArgs& args, int threads, uint64_t seed);

}  // namespace vitrail
