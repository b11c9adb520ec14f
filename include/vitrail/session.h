// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vitrail/dtype.h"
#include "vitrail/error.h"
#include "vitrail/tensor.h"

/// Running plans.
///
///     auto plan = vitrail::LoadedPlan::load("cvt13.vitrail");
///     vitrail::Session session(plan, {.threads = 2});
///     session.set_input("input", vitrail::DType::f32, {1, 3, 224, 224}, pixels);
///     session.run();
///     vitrail::TensorView logits = session.output("logits");
///
/// Everything throws vitrail::Error, whose message names what was expected, found and what to do.
namespace vitrail {

/// An input or output as the plan declares it. Extents are numbers or expressions over the plan's
/// symbols ("N", "8*h"); min, opt and max are the extents at the plan's range. For outputs whose
/// extents depend on data, max is the largest there is room for.
struct TensorSpec {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::string> dims;
  std::vector<int64_t> min, opt, max;
};

struct LoadOptions {
  /// "cpu", "cuda:sm_90a", ..: the section to take; empty: the file's only one, or the CPU's.
  std::string target;
  /// Compare the weights with their checksums while loading (tables are always checked).
  bool verify_weights = true;
};

/// A plan file that passed its checks. Copies share it; immutable, so any number of sessions in any
/// threads may use it.
class LoadedPlan {
 public:
  /// Throws Error(io), Error(bad_input) for a damaged file, Error(wrong_target) for a plan of
  /// another version or without a section for `target`.
  static LoadedPlan load(const std::string& path, const LoadOptions& options = {});

  const std::vector<TensorSpec>& inputs() const;
  const std::vector<TensorSpec>& outputs() const;
  /// Task, preprocessing, labels: what the model's file said.
  const std::map<std::string, std::string>& metadata() const;
  const std::string& model_name() const;
  const std::string& target() const;
  /// Processor and level the kernels were chosen for.
  const std::string& tuned_for() const;
  /// Bytes of weights in the file.
  uint64_t weight_bytes() const;
  /// Throws Error(bad_input) when a weight is not what its checksum says.
  void verify_weights() const;

 private:
  friend class Session;
  struct State;
  explicit LoadedPlan(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

/// Memory of a tensor, dense row-major.
struct TensorView {
  DType dtype = DType::f32;
  std::span<const int64_t> dims;
  const void* data = nullptr;
  size_t bytes = 0;
};

struct SessionOptions {
  std::string device = "cuda";  ///< "cuda" or "cuda:N": where a plan for a GPU runs
  int threads = 0;  ///< workers of a run, the calling thread included; 0: every processor
  bool poison =
      false;  ///< fill working memory with NaN before each run, to find reads of unwritten memory
};

/// How long one execution of a step took.
struct StepReport {
  int index = 0;            ///< depth first in the plan
  std::string_view step;    ///< its name
  std::string_view kernel;  ///< "reference" for steps without a kernel of their own
  double microseconds = 0;
};

struct Trace;
struct TraceOptions;

/// A plan with memory to run in. Not for two threads at once: open one session for each; they share
/// the plan and the process's one pool of threads.
class Session {
 public:
  explicit Session(LoadedPlan plan, const SessionOptions& options = {});
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  const LoadedPlan& plan() const;

  /// Names memory for an input: dense row-major, aligned to its elements, kept and unchanged until
  /// run() has returned. It is never written. Throws Error(usage) listing the plan's inputs for an
  /// unknown name; extents outside the plan's range are refused when the session binds.
  void set_input(std::string_view name, DType dtype, std::span<const int64_t> dims,
                 const void* data);
  void set_input(std::string_view name, DType dtype, std::initializer_list<int64_t> dims,
                 const void* data) {
    set_input(name, dtype, std::span(dims.begin(), dims.size()), data);
  }
  /// Memory for an input or output of this session. For a plan on a GPU it is page-locked: runs
  /// copy from and to it directly, while from and to other memory the processor copies a second
  /// time. Page-locked memory from elsewhere (cudaHostAlloc, cudaHostRegister, PyTorch's pinned
  /// tensors) is known as such and serves as well. May outlive the session.
  Tensor host_tensor(DType dtype, const Dims& dims) const;
  /// The caller's memory for an output, used until changed; null: the session's own again, which is
  /// of that kind.
  void set_output(std::string_view name, void* data, size_t bytes);
  /// A symbol of the plan that no input's extents give.
  void set_symbol(const std::string& name, int64_t value);

  /// Does for the inputs' extents what the first run of these extents would: checks them against
  /// the plan's range, chooses kernels, gets memory. Needs every input's extents; their data may be
  /// null.
  void bind();
  /// Allocates nothing when the extents were seen among the last eight, unless the plan has host
  /// steps or loops.
  void run();
  /// Starts a run, whose outputs are there after wait(). A GPU goes on by itself, each session on a
  /// stream of its own, so that one's copies overlap with another's kernels; inputs must stay
  /// unchanged until wait(). A plan for the CPU has run when this returns, and steps of a GPU plan
  /// that run on the CPU are waited for. Before wait() this session takes set_input and nothing
  /// else.
  void run_async();
  /// Until the run has ended; throws what went wrong in it. Nothing to do when none is under way.
  void wait();
  /// Of the last run; valid until the next run, bind or set_output.
  TensorView output(std::string_view name) const;

  /// Called after every step; empty: no longer, and no clock is read.
  void set_trace(std::function<void(const StepReport&)> trace);
  /// Microseconds on the GPU alone of what the last run did, copies of inputs and outputs left out:
  /// `rounds` figures, each the mean of `replays` runs in a row. Throws Error(usage) before a run,
  /// on the CPU, and for a plan with steps that run on the CPU or depend on data.
  std::vector<double> time_device(int rounds, int replays = 10);
  bool on_device() const;
  /// Times every step for the inputs set (vitrail/trace.h). Throws what run() throws.
  Trace trace(const TraceOptions& options);
  /// Whether a failure (an illegal access, a device that fell off the bus) has made the GPU
  /// unusable to this process. Every later use of it throws Error(resource) with that failure; a
  /// new process can start again.
  bool lost() const;
  /// Bytes of working memory held: arena, scratch, own outputs.
  uint64_t memory_bytes() const;
  int threads() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vitrail
