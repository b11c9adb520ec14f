// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/cuda/library.h"
#include "kernels/kernel.h"
#include "plan/plan.h"
#include "runtime/copy.h"

namespace vitrail {

/// A step with what does not depend on extents.
struct StepInfo {
  const Step* step = nullptr;
  int index = 0;                           ///< depth first, as in PlanBuffer::first
  std::vector<std::vector<int>> blocks;    ///< indices of the steps in each block
  std::vector<std::string> inner_symbols;  ///< data symbols that steps inside write
  /// launch: its problem or choices use data symbols, or it stands in a block with guards. It is
  /// bound just before it runs.
  bool data_dependent = false;
  const OpDef* op = nullptr;  ///< host
  std::vector<const CpuKernel*>
      choices;  ///< launch: of step->choices; null: not for this processor
  const KernelFamily* family = nullptr;
};

/// What is known of a plan on this machine before any input is seen: kernels and ops found, symbols
/// sorted. Immutable.
class Program {
 public:
  /// Throws Error(wrong_target) for a kernel or op this build does not have, Error(bad_input) for
  /// one that refuses its problem or attributes, and what validate() throws.
  Program(std::shared_ptr<const Plan> plan, std::span<const CpuKernel* const> kernels, int workers);

  const Plan& plan() const { return *plan_; }
  int workers() const { return workers_; }
  std::span<const StepInfo> steps() const { return steps_; }
  const std::vector<int>& root() const { return root_; }
  bool depends_on_data(const Expr& e) const;
  bool depends_on_data(const Shape& shape) const;
  const PlanSymbol& symbol(const std::string& name) const;
  bool on_device() const { return plan_->target != "cpu"; }
  /// Of a GPU plan: the choice for a launch at these extents.
  const KernelChoice& choose_device(const StepInfo& info, const Bindings& symbols) const;
  /// The kernel for a launch at these extents, and its tactic; null: the kernel's own first.
  std::pair<const CpuKernel*, const Tactic*> choose(const StepInfo& info,
                                                    const Bindings& symbols) const;

 private:
  std::vector<int> add_block(const Block& block, bool guarded);
  void resolve_launch(StepInfo& info) const;
  void resolve_host(StepInfo& info) const;
  const CpuKernel* heuristic(const StepInfo& info) const;

  std::shared_ptr<const Plan> plan_;
  std::span<const CpuKernel* const> kernels_;
  int workers_;
  std::vector<StepInfo> steps_;
  std::vector<int> root_;
  std::set<std::string> data_symbols_;
};

struct BoundValue {
  View view;
  int64_t offset = 0;    ///< bytes from the start of its buffer
  uint64_t version = 0;  ///< of the data symbols it was bound at; 0: never
};

/// A GPU launch at given extents.
struct DeviceLaunch {
  unsigned grid[3];
  std::vector<int64_t> numbers;
  Bindings call;  ///< of a library's call: its numbers; prepared by the first launch
  mutable std::shared_ptr<cuda::LibraryOperation> operation;
};

struct BoundStep {
  const CpuKernel* kernel = nullptr;
  BoundProblem problem;
  Launch launch;
  const KernelChoice* choice = nullptr;  ///< of a GPU plan, with its launches in `device`
  std::vector<DeviceLaunch> device;
  uint64_t version = 0;
  bool empty = false;  ///< all outputs have no elements: nothing to do
};

/// A plan at given values of its input symbols: extents, kernels, memory. Data symbols change while
/// it runs; what depends on them is bound again when it is needed.
class Binding {
 public:
  Binding(const Program& program, Bindings symbols);

  const Program& program() const { return *program_; }
  const Bindings& symbols() const { return symbols_; }
  const BoundValue& value(int index);
  const BoundStep& step(const StepInfo& info);
  const BoundStep& bound(int index) const { return steps_.at(index); }
  /// The launches of a GPU plan's choice at these extents.
  void bind_launches(const KernelChoice& choice, BoundStep& out) const;
  /// Throws Error(resource) when `extent` is beyond the symbol's bound.
  void set_data(const std::string& symbol, int64_t extent);
  /// Data symbols have no value again: all at the start of a run, those that the step's blocks
  /// write before a block runs. A guard must not compare a new extent with one of an earlier round.
  void forget_data();
  void forget(const StepInfo& info);
  /// Before and after the run of a step's block: its guards hold between them. forget_data() leaves
  /// all blocks.
  void enter(const StepInfo& info, size_t block);
  void leave(const StepInfo& info, size_t block);

  int64_t buffer_bytes(int buffer) const { return bytes_[buffer]; }
  int64_t arena_offset(int buffer) const { return offsets_[buffer]; }
  int64_t arena_bytes() const { return arena_bytes_; }
  /// Of one worker, and shared by all; they grow when a data-dependent step is bound. On a GPU:
  /// workspace and counters.
  size_t scratch_bytes() const { return scratch_; }
  size_t shared_bytes() const { return shared_; }

  std::shared_ptr<void> device_graphs;  ///< DeviceRun's, for this binding

 private:
  void lay_out();
  void check(const PlanGuard& guard) const;
  void check_data(const std::vector<PlanGuard>& guards) const;
  void bind_value(int index);
  void bind_step(const StepInfo& info);
  void bind_device(const StepInfo& info);
  int64_t within(const Expr& e, int64_t most, const char* what, const KernelChoice& choice) const;
  void check_operand(const Operand& operand, const BoundOperand& bound, int value,
                     const StepInfo& info);

  const Program* program_;
  Bindings symbols_;
  uint64_t version_ = 1;  // counts changes of data symbols
  std::vector<int64_t> bytes_, offsets_;
  int64_t arena_bytes_ = 0;
  std::vector<BoundValue> values_;
  std::vector<BoundStep> steps_;
  std::vector<bool> value_uses_data_;                   // or is used only in blocks with guards
  std::vector<const std::vector<PlanGuard>*> entered_;  // guards of the blocks that run
  size_t scratch_ = 0, shared_ = 0;
};

}  // namespace vitrail
