// SPDX-License-Identifier: Apache-2.0
// compare --layers: every step alone and in its place.
#include <algorithm>

#include "compile/compile.h"
#include "compile/replay.h"
#include "passes/pipeline.h"

namespace vitrail {
namespace {

// Replaces every fusion by its nodes, those inside fusions and other bodies too.
void flatten(ir::Graph& graph, size_t body) {
  for (bool changed = true; std::exchange(changed, false);)
    for (ir::NodeId id : graph.topological_order())
      if (graph.node(id).is_fusion()) {
        ir::dissolve(graph, id, std::min(body, graph.node(id).bodies.size() - 1));
        changed = true;
      }
  for (ir::NodeId id : graph.topological_order())
    for (const auto& inner : graph.node(id).bodies) flatten(*inner, body);
}

// The graph that the plan was made of, as far as is known: what kernels refused was dissolved then,
// into one of its bodies. A plan's values have the names of that graph.
std::vector<ir::Graph> graphs_of(const ir::Graph& imported, const Plan& plan) {
  std::vector<ir::Graph> out;
  ir::Graph fused = imported.clone();
  apply_shapes(fused, ranges_of(plan));
  fused.infer_all();
  passes::run(fused);
  out.push_back(std::move(fused));
  constexpr size_t kMostBodies = 2;
  for (size_t body = 0; body < kMostBodies; ++body) {
    out.push_back(out[0].clone());
    flatten(out.back(), body);
  }
  return out;
}

class Steps {
 public:
  Steps(Replay& replay, const Plan& plan, const StepOptions& options)
      : replay_(replay), plan_(plan), options_(options) {
    for (const Replay::Entry& entry : replay.steps()) {
      told_.push_back({.index = static_cast<int>(told_.size()),
                       .step = entry.path,
                       .sources = entry.step->sources,
                       .restarted = entry.discontinuous});
      deepest_ = std::max(deepest_, entry.depth);
    }
  }

  std::vector<StepDifference> run() {
    while (replay_.next_window()) {
      // One depth after another: what a Loop makes of its inputs must not be what its steps make of
      // theirs.
      for (int depth = 0; depth <= deepest_; ++depth)
        replay_.run([&](int index) { return entry(index).depth == depth; },
                    [&](Replay::Round round, int value, const Tensor& wanted) {
                      if (entry(round.index).depth == depth) alone(round, value, wanted);
                    },
                    [&](const StepTime& time) { at(time.index).kernel = time.kernel; });
      replay_.run([&](int index) { return entry(index).discontinuous; },
                  [&](Replay::Round round, int value, const Tensor& wanted) {
                    in_place(round, value, wanted);
                  });
    }
    return std::move(told_);
  }

 private:
  const Replay::Entry& entry(int index) const {
    return replay_.steps()[static_cast<size_t>(index)];
  }
  StepDifference& at(int index) { return told_[static_cast<size_t>(index)]; }
  Difference difference(int value, const Tensor& wanted) {
    return compare(replay_.executor().read_value(value), wanted, options_.atol, options_.rtol);
  }

  // Of several outputs and rounds the one that lies farthest away is told.
  void alone(Replay::Round round, int value, const Tensor& wanted) {
    StepDifference& step = at(round.index);
    const Difference d = difference(value, wanted);
    if (step.compared && d.abs.max <= step.alone.abs.max) return;
    step.compared = true;
    step.alone = d;
    step.value = plan_.values[static_cast<size_t>(value)].name;
    step.round = round.times;
  }
  void in_place(Replay::Round round, int value, const Tensor& wanted) {
    Difference& kept = at(round.index).accumulated;
    const Difference d = difference(value, wanted);
    if (d.abs.max >= kept.abs.max) kept = d;
  }

  Replay& replay_;
  const Plan& plan_;
  const StepOptions& options_;
  std::vector<StepDifference> told_;
  int deepest_ = 0;
};

}  // namespace

std::vector<StepDifference> replay_steps(const ir::Graph& imported,
                                         const std::shared_ptr<const Plan>& plan,
                                         const std::vector<Tensor>& inputs,
                                         const StepOptions& options, int64_t window_bytes) {
  const std::vector<ir::Graph> graphs = graphs_of(imported, *plan);
  std::vector<const ir::Graph*> list;
  for (const ir::Graph& g : graphs) list.push_back(&g);
  Replay replay(std::move(list), plan, inputs,
                {.precision = options.precision,
                 .executor = {.threads = options.threads},
                 .window_bytes = window_bytes});
  return Steps(replay, *plan, options).run();
}

}  // namespace vitrail
