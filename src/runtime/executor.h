// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <atomic>
#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/cpu/memory.h"
#include "base/tensor.h"
#include "plan/plan.h"
#include "runtime/binding.h"

namespace vitrail {

namespace cpu {
class Lease;
}
class DeviceRun;

struct ExecutorOptions {
  int threads = 0;  ///< workers of a run, the caller included; 0: all processors of this process
  bool poison = false;  ///< fill arena, scratch and outputs with NaN before each run, to catch
                        ///< reads of what nothing wrote
  std::span<const CpuKernel* const> kernels = all_cpu_kernels();
  std::string device = "cuda";  ///< "cuda" or "cuda:N": where a GPU plan runs
  size_t bindings = 8;          ///< shapes remembered
};

/// What one worker did of a launch on the CPU; microseconds as in StepTime.
struct WorkerTime {
  double start = 0, end = 0;  ///< of its first and last task
  double busy = 0;            ///< inside tasks
  int64_t tasks = 0;          ///< 0: it had none
};

/// One execution of a step. Steps inside a branch or loop are reported too, and once a round.
struct StepTime {
  int index = 0;  ///< depth first
  const Step* step = nullptr;
  const char* kernel = "";  ///< the kernel's name; "reference" for host steps; "" for branches,
                            ///< loops and empty launches
  double microseconds = 0;
  double start = 0;                       ///< microseconds since run() began
  std::span<const WorkerTime> workers{};  ///< with RunHooks::workers, of a launch on the CPU
};

/// Called while a plan runs. Empty functions cost nothing.
struct RunHooks {
  /// False: the step is left out, with everything inside it.
  std::function<bool(int index, const Step&)> select;
  /// Just before and after a step; may call read_value and write_value, for example to replay one
  /// step from reference inputs.
  std::function<void(int index, const Step&)> before, after;
  std::function<void(const StepTime&)> trace;
  /// With `trace` alone, on a GPU: launches stay in their recorded segments, which get a stamp
  /// after each step; a step's time is then the device's, with nothing overlapping its neighbours.
  bool in_graph = false;
  /// With `trace`: two readings of the clock around every task, for StepTime::workers.
  bool workers = false;
};

/// Runs a plan in this process. One run at a time; several executors may share a plan. A run
/// allocates nothing once its input shapes have been seen, unless host steps or loops do.
class Executor {
 public:
  explicit Executor(std::shared_ptr<const Plan> plan, ExecutorOptions options = {});
  ~Executor();

  const Plan& plan() const { return program_.plan(); }

  /// Dense row-major memory that stays valid and unchanged until run() has returned; never written.
  /// Null: enough for bind(), not for run().
  /// Throws Error(usage) for a wrong element type or rank, and for memory not aligned to its
  /// elements.
  void set_input(size_t index, DType dtype, std::span<const int64_t> dims, const void* data);
  void set_input(size_t index, const Tensor& tensor) {
    set_input(index, tensor.dtype(), tensor.dims(), tensor.raw());
  }
  /// The caller's memory for an output; null: the executor's own again.
  void set_output(size_t index, void* data, size_t bytes);
  /// A symbol that no input's extents give.
  void set_symbol(const std::string& name, int64_t value);

  /// Finds the symbols, chooses kernels and lays out memory for the inputs set, as the next run
  /// would.
  void bind();
  void run(const RunHooks& hooks = {}) {
    start(hooks);
    finish();
  }
  /// A run in two parts. On a GPU start() returns when what follows is only waiting and copying
  /// into memory that is not page-locked; otherwise the run has ended. Between the two, bind, run
  /// and set_output throw Error(usage).
  void start(const RunHooks& hooks = {});
  /// Ends the run under way, if any, and throws what became of it.
  void finish();
  /// Memory from and to which a run copies by the shortest way.
  Tensor host_tensor(DType dtype, const Dims& dims) const;

  /// Of the last run. Valid until the next run or set_output.
  const Dims& output_dims(size_t index) const { return results_.at(index).dims; }
  const void* output_data(size_t index) const { return results_.at(index).data; }
  /// A copy.
  Tensor output(size_t index) const;

  /// From a hook: a dense copy of a value, or new contents for it. Throws Error(usage) when a hook
  /// is not running, or an input or constant would be written.
  Tensor read_value(int value);
  void write_value(int value, const Tensor& tensor);

  /// Of the binding in use.
  const Bindings& symbols() const;
  /// Microseconds on the device of one replay of what the last run did, copies of inputs and
  /// outputs left out: `rounds` times the mean over `replays` replays in a row. Throws Error(usage)
  /// before a run, and for a plan of the CPU or one whose steps are not all launches.
  std::vector<double> time_device(int rounds, int replays);
  /// What each step adds to the device's chain of overlapping launches (runtime/chain.h).
  struct ChainTimes {
    std::vector<int> steps;                 ///< in order; those inside no branch or loop
    std::vector<std::vector<double>> each;  ///< microseconds, by step and round
    std::vector<double> whole;              ///< stamped at its start and end alone, by round
  };
  /// Throws as time_device() does.
  ChainTimes time_chain(int rounds);
  /// Microseconds between two stamps with nothing between them, a median.
  double stamp_microseconds();
  /// On a GPU, of a bound session: whether all steps are launches of one recorded graph.
  bool one_graph() const;
  /// Null on the CPU.
  const GpuMachine* gpu() const;
  /// For the tuner: microseconds on the device of one replay at the binding in use, straight after
  /// another, so that nothing waits for the host. Between them `evict_bytes` of memory are written,
  /// which drives everything else out of the device's cache. The mean over `replays` in a row.
  double time_replay(size_t evict_bytes, int replays = 1);
  bool on_device() const { return device_ != nullptr; }
  bool under_way() const { return under_way_; }
  /// Name of the kernel and its tactic for a launch in the binding in use; null: not bound yet.
  const BoundStep* bound_step(int index) const;
  struct MemoryUse {
    int64_t arena = 0, scratch = 0, outputs = 0;
  };
  MemoryUse memory() const;
  int threads() const { return program_.workers(); }

 private:
  struct Input {
    Dims dims;
    const void* data = nullptr;
    bool set = false;
  };
  struct Result {
    Dims dims;
    void* data = nullptr;     // where it lies after the run
    void* callers = nullptr;  // set_output
    size_t callers_bytes = 0;
    cpu::Memory own;
    bool there = false;  // written by a kernel, or by the device while the run is under way
  };

  void solve_symbols();
  void match_inputs(Bindings& symbols) const;
  void match_profile(const Bindings& symbols) const;
  void use_binding();
  void prepare_memory();
  void poison();
  void run_block(const std::vector<int>& steps, const RunHooks& hooks, cpu::Lease& lease);
  bool in_segment(int index) const;
  void run_segment(const std::vector<int>& steps, size_t first, size_t last);
  void trace_segment(const std::vector<int>& steps, size_t first, size_t last,
                     const RunHooks& hooks);
  std::string segment_name(const std::vector<int>& steps, size_t first, size_t last) const;
  const std::vector<int>& timed_root() const;
  const JointLaunch* joint_of(const std::vector<int>& steps, size_t first, size_t last);
  size_t launch_some(const std::vector<int>& steps, size_t first, size_t last, bool overlap);
  void launch_on_device(const StepInfo& info, bool overlap);
  void run_step(const StepInfo& info, const RunHooks& hooks, cpu::Lease& lease);
  void run_launch(const StepInfo& info, const RunHooks& hooks, cpu::Lease& lease);
  void run_host(const StepInfo& info);
  void run_branch(const StepInfo& info, const RunHooks& hooks, cpu::Lease& lease);
  void run_loop(const StepInfo& info, const RunHooks& hooks, cpu::Lease& lease);
  void begin(const RunHooks& hooks);
  void begin_outputs();
  void collect_outputs();
  std::byte* result_memory(size_t index, size_t bytes);
  void require_no_run() const;
  void reserve_scratch();
  const char* kernel_name(const StepInfo& info) const;
  double since_start() const;

  std::byte* address(int value);
  Tensor view_tensor(int value, bool always_copy);
  void store(int value, const Tensor& tensor);
  void set_extents(const Step& step, int output, const Dims& dims);
  void copy_value(int from, int to);

  Program program_;
  ExecutorOptions options_;
  std::unique_ptr<DeviceRun> device_;  // of a GPU plan
  std::vector<std::byte*> device_args_;
  std::vector<Input> inputs_;
  std::vector<Result> results_;
  Bindings wanted_;              // symbols of the next run
  Bindings given_;               // by set_symbol
  bool changed_ = true;          // shapes or symbols since wanted_ was found
  std::list<Binding> bindings_;  // most recently used first
  Binding* current_ = nullptr;
  std::vector<std::byte*> bases_;  // of each buffer
  std::vector<const void*> arg_inputs_;
  std::vector<void*> arg_outputs_;
  cpu::Memory arena_, scratch_, shared_;
  std::chrono::steady_clock::time_point started_;  // the run that is traced
  std::vector<WorkerTime> worker_times_;
  std::atomic<bool> running_{false};
  bool under_way_ = false;
};

}  // namespace vitrail
