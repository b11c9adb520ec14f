// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "oracle/oracle.h"
#include "plan/plan.h"
#include "runtime/executor.h"
#include "vitrail/check.h"

namespace vitrail {

/// What a body of a step or node is called in names of steps: "if/then/add", "loop/body/add".
std::string body_path(const std::string& owner, bool branch, size_t body);

/// Runs the steps of an unchanged plan beside what the references of the ops give for them, at any
/// depth. Reference values are kept for as many steps at a time as fit `window_bytes`; more steps
/// are several windows, each with a run of the oracle. Inside Loops the first and the last run of a
/// step have references.
class Replay {
 public:
  struct Options {
    DType precision = DType::f32;  ///< of the reference
    ExecutorOptions executor;
    int64_t window_bytes = int64_t{2} << 30;
  };
  struct Entry {
    const Step* step = nullptr;
    std::string path;  ///< names of the steps around it and its own
    std::string scope;
    int depth = 0;  ///< 0: on the plan's top level
    /// A small change of its input may change its output by much. Its inputs have references in
    /// every window.
    bool discontinuous = false;
    /// What it reads, for a control step with what its bodies read from around it: a value, and the
    /// step that stands where the value has its name.
    std::vector<std::pair<int, int>> reads;
  };
  struct Round {
    int index = 0;      ///< of the step, depth first
    int64_t times = 0;  ///< how often it ran before in this run of the plan
  };

  /// `graphs` give the references by the names of their values, which a plan has from the graph it
  /// was made of: the first that makes a value of a name is asked. `inputs` in the order of the
  /// graphs' inputs. All of them outlive the replay.
  Replay(std::vector<const ir::Graph*> graphs, std::shared_ptr<const Plan> plan,
         const std::vector<Tensor>& inputs, const Options& options);

  /// Depth first, as hooks count them.
  const std::vector<Entry>& steps() const { return steps_; }
  Executor& executor() { return executor_; }

  /// Gets the references of the next steps; false: there are no more.
  bool next_window();
  /// One run of the plan. Steps for which `feed` says so read the reference's values; `judge` is
  /// told of every output of the window's steps that has one.
  void run(const std::function<bool(int index)>& feed,
           const std::function<void(Round, int value, const Tensor& reference)>& judge,
           const std::function<void(const StepTime&)>& trace = {});
  /// Of the first graph, by the oracle; empty: no window needed a run of it.
  const std::vector<Tensor>& outputs() const { return outputs_; }

 private:
  struct Kept {
    Tensor first, last;
    int64_t last_time = 0;
  };
  /// A value that steps of the block in hand, and of blocks inside it, find made.
  struct Visible {
    int index;  ///< of its maker; -1: a body's input, named where the step of `depth` stands
    int depth;
    int value;
  };
  void list_steps(const Block& block, const std::string& scope, std::vector<int>& around,
                  std::vector<Visible> visible);
  void list_values(size_t graph, const ir::Graph& body, const std::string& scope);
  int64_t bytes_of(int value, const Bindings& symbols) const;
  void observe(size_t graph);
  const Tensor* reference(int value, Round round) const;
  void write(int index, int value);
  std::string key(int index, int value) const;

  std::vector<const ir::Graph*> graphs_;
  std::shared_ptr<const Plan> plan_;
  const std::vector<Tensor>& inputs_;
  std::vector<Tensor> taken_;  // inputs_ in the plan's types
  Options options_;
  Executor executor_;
  std::vector<Entry> steps_;
  std::map<std::string, size_t, std::less<>> makers_;  // scope and name: index in graphs_
  size_t begin_ = 0, end_ = 0;                         // the window
  std::set<std::string, std::less<>> wanted_;
  std::map<std::string, Kept, std::less<>> known_;
  std::vector<int64_t> times_;  // that each step began, in this run
  std::vector<Tensor> outputs_;
};

/// See compare_steps in vitrail/check.h. `window_bytes`: of reference values at a time.
std::vector<StepDifference> replay_steps(const ir::Graph& imported,
                                         const std::shared_ptr<const Plan>& plan,
                                         const std::vector<Tensor>& inputs,
                                         const StepOptions& options,
                                         int64_t window_bytes = Replay::Options{}.window_bytes);

}  // namespace vitrail
