// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "base/gpu.h"
#include "base/problem.h"
#include "base/tensor.h"
#include "ops/op.h"

namespace vitrail {

/// A symbol of a plan and the extents the plan was built for.
struct PlanSymbol {
  std::string name;
  enum class Kind : uint8_t { input, bind, data } kind = Kind::input;
  int64_t min = 1, opt = 1, max = 1;  ///< of input symbols
  Expr bound;                         ///< largest value of a data symbol
  /// Several sets of ranges, of which a binding must fit one; min and max are then their hull, opt
  /// is the first one's. All input symbols have as many; none: one set.
  struct Profile {
    int64_t min = 1, opt = 1, max = 1;
    bool operator==(const Profile&) const = default;
  };
  std::vector<Profile> profiles;
};

/// A piece of memory. Arena buffers live from `first` to `last` step (indices in Plan::step order,
/// depth first); two whose lives do not meet may share bytes.
struct PlanBuffer {
  enum class Kind : uint8_t { arena, constant, input, output } kind = Kind::arena;
  Expr bytes;
  int first = 0, last = 0;
  int constant = -1;  ///< index into Plan::constants
  int io = -1;        ///< index into Plan::inputs or outputs
};

/// A tensor as steps see it: a window of a buffer. Several values may lie in one buffer (Concat,
/// Slice, Reshape are views).
struct PlanValue {
  std::string name;
  DType dtype = DType::f32;
  Shape dims;
  int buffer = -1;
  Expr offset;    ///< elements from the start of the buffer
  Shape strides;  ///< elements
};

/// How a multiprocessor's memory is divided for a launch between shared memory and first-level
/// cache. by_size: as large as possible for small launches, for others as the driver thinks.
enum class Division : uint8_t { by_size, shared };
constexpr int kDivisionCount = 2;

/// The kernel a step runs when every symbol lies in its interval of `when` (symbols not named:
/// any value). Choices are tried in order; none fits: the first accepted kernel by heuristic. They
/// hold where they were timed: see Plan::tuned_isa and tuned_threads.
struct KernelChoice {
  Ranges when;
  std::string kernel;
  Tactic tactic;            ///< empty: the kernel's own first, which follows the extents
  double microseconds = 0;  ///< as timed when the plan was built; 0: not timed
  // Of a GPU plan:
  int module = -1;  ///< index into Plan::modules; -1: no machine code, only calls of libraries
  std::vector<GpuLaunch> launches;  ///< in order, one after the other
  Expr workspace_bytes = 0;
  Expr counters = 0;
  bool full_edge = false;  ///< its launches wait for the end of what is ahead of them
  Division division = Division::by_size;
};

/// One launch for several steps, where each runs its choice of this index.
struct JointLaunch {
  std::vector<int> choices;
  KernelChoice code;  ///< one launch; its operands are the steps', one step's after the other's
};

/// Both sides must evaluate to the same number: a plan's guards when a session binds, those of a
/// block when it runs.
struct PlanGuard {
  Expr a, b;
  bool operator==(const PlanGuard&) const = default;
};

struct Step;
using Block = std::vector<Step>;

/// launch: a kernel of problem.family. host: an op run by its reference. branch: an If on a scalar
/// boolean. loop: ONNX Loop. A step's `inputs` and `outputs` are indices of Plan::values.
struct Step {
  enum class Kind : uint8_t { launch, host, branch, loop } kind = Kind::launch;
  std::string name;
  std::vector<std::string> sources;  ///< nodes of the model it stands for
  std::vector<int> inputs;           ///< -1: absent
  std::vector<int> outputs;
  Problem problem;                    // launch
  std::vector<KernelChoice> choices;  // launch
  /// launch, of a GPU plan: so many steps, from this one on, do not depend on each other and may
  /// run at once; what they use lives through all of them.
  int together = 1;
  std::vector<JointLaunch> joints;
  std::vector<std::string> trials;  ///< candidates and their times, for inspect --why; kept in the
                                    ///< record
  std::string domain, op;           // host
  Attrs attrs;                      // host
  /// host, branch and loop: symbols written by the step, as (output, axis) -> symbol.
  struct DataExtent {
    int output = 0, axis = 0;
    std::string symbol;
  };
  std::vector<DataExtent> data_extents;
  std::vector<Block> blocks;                         // branch: then, else; loop: body
  std::vector<std::vector<PlanGuard>> block_guards;  ///< of each block, or none at all
  /// loop: values set before each round: its number (i64 scalar), the condition (-1: not read),
  /// then the carried values. `inputs` are the trip count and the first condition (-1: absent),
  /// then the carried values' first contents.
  std::vector<std::vector<int>> block_inputs;
  /// branch: for each block, the values copied to `outputs` when it has run (-1, or no list: the
  /// block writes that output itself). loop: the next condition (-1: as before), the carried
  /// values, then the values stacked into the remaining outputs, whose first extent is a data
  /// symbol.
  std::vector<std::vector<int>> block_outputs;
};

/// Calls visit(step) for every step, depth first.
template <typename Steps, typename Visit>
void for_each_step(Steps& block, const Visit& visit) {
  for (auto& step : block) {
    visit(step);
    for (auto& inner : step.blocks) for_each_step(inner, visit);
  }
}

struct PlanTensorInfo {
  std::string name;
  int value = -1;
};

/// What was measured by the build's verification, kept for `inspect`.
struct VerificationRow {
  std::string output, at;  ///< tensor; "opt", "batch 2", ...
  double abs_max = 0, abs_mean = 0, abs_median = 0, rel_max = 0, rel_mean = 0, rel_median = 0,
         cosine = 1, sqnr_db = 0;
  bool ok = true;
};

/// Everything a session needs. Bytes of the file are a function of model, options and tactic
/// record; timings, account and verification stand in a section outside the hash.
struct Plan {
  std::string model_name, model_hash, target = "cpu", tuned_for;  ///< tuned_for: processor and ISA
  /// The Isa whose kernels the choices were made among; a processor with a higher level runs by
  /// heuristic choice. -1: any.
  int tuned_isa = -1;
  /// Workers that the tactics were timed with; another number of workers keeps the choices' kernels
  /// and takes their own first tactics. 0: any.
  int tuned_threads = 0;
  std::vector<PlanSymbol> symbols;
  std::vector<PlanGuard> guards;
  std::vector<PlanBuffer> buffers;
  std::vector<PlanValue> values;
  std::vector<PlanTensorInfo> inputs, outputs;
  std::vector<Tensor>
      constants;  ///< packed weights; in a loaded plan they point into the mapped file
  std::vector<Tensor> modules;  ///< machine code of a GPU plan, for the architecture of `target`
  Block steps;
  std::map<std::string, std::string> metadata;
  std::string source_graph;  ///< the imported graph's text form, to retune from; empty: left out
  std::vector<Tensor> source_constants;  ///< its constants, by order of appearance
  std::vector<std::string> account;      ///< lines of the build's account
  std::vector<VerificationRow> verification;
};

}  // namespace vitrail
