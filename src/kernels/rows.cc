// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace vitrail {

RowLoop make_rows(const Dims& dims, const std::vector<Dims>& strides) {
  RowLoop out{};
  out.operands = static_cast<int64_t>(strides.size());
  require(out.operands <= RowLoop::kMaxOperands, Code::internal, "{} operands in one row loop",
          out.operands);
  out.rows = element_count(dims);
  Dims kept;
  std::vector<Dims> steps(strides.size());
  // From the outermost axis inwards: an axis joins the one before it when, for every operand, a
  // step of the outer is a whole run of the inner.
  for (size_t axis = 0; axis < dims.size(); ++axis) {
    if (dims[axis] == 1) continue;
    bool joins = !kept.empty();
    for (size_t o = 0; o < strides.size() && joins; ++o)
      joins = steps[o].back() == strides[o][axis] * dims[axis];
    if (joins)
      kept.back() *= dims[axis];
    else
      kept.push_back(dims[axis]);
    for (size_t o = 0; o < strides.size(); ++o) {
      if (joins)
        steps[o].back() = strides[o][axis];
      else
        steps[o].push_back(strides[o][axis]);
    }
  }
  require(kept.size() <= RowLoop::kMaxRank, Code::internal, "{} axes in one row loop", kept.size());
  out.rank = static_cast<int64_t>(kept.size());
  std::copy(kept.begin(), kept.end(), out.dims);
  for (size_t o = 0; o < strides.size(); ++o)
    std::copy(steps[o].begin(), steps[o].end(), out.strides[o]);
  return out;
}

RowState bind_rows(const BoundProblem& problem, double nanoseconds, int workers) {
  const BoundOperand& out = problem.outputs.at(0);
  RowState state{};
  state.inputs = static_cast<int64_t>(problem.inputs.size());
  state.outputs = static_cast<int64_t>(problem.outputs.size());
  state.first = problem.problem->epilogue_inputs;
  const size_t outer = out.dims.size() - 1;
  std::vector<Dims> strides;
  for (const auto* list : {&problem.inputs, &problem.outputs})
    for (const BoundOperand& o : *list) {
      const bool walks = o.dims.size() == out.dims.size();
      state.col[strides.size()] = walks ? o.strides.back() : 0;
      strides.push_back(walks ? Dims(o.strides.begin(), o.strides.end() - 1) : Dims(outer, 0));
    }
  state.loop = make_rows(Dims(out.dims.begin(), out.dims.end() - 1), strides);
  state.cols = out.dims.back();
  // Rows of a tile start at multiples of 64 bytes, so that no vector straddles a cache line.
  constexpr int64_t kLine = 16, kTileFloats = 4096, kMostRows = 64;
  state.ld = std::max<int64_t>((state.cols + kLine - 1) / kLine * kLine, kLine);
  state.tile_rows = std::clamp<int64_t>(kTileFloats / state.ld, 1, kMostRows);
  state.rows_per_task =
      units_per_task(state.loop.rows, nanoseconds * static_cast<double>(state.cols), 1, workers);
  std::vector<TileStrides> operands;
  for (int i = 0; i + 1 < problem.problem->epilogue.inputs; ++i) {
    const auto o = static_cast<size_t>(state.first + i);
    operands.push_back({state.loop.step(static_cast<int64_t>(o)), state.col[o]});
  }
  state.epilogue = compile_epilogue(problem.problem->epilogue, operands);
  return state;
}

int64_t row_tasks(const RowState& state) {
  return state.cols == 0 ? 0 : (state.loop.rows + state.rows_per_task - 1) / state.rows_per_task;
}
size_t row_scratch(const RowState& state) {
  const int64_t tile = state.tile_rows * state.ld;
  const int64_t aligned = (tile + 15) / 16 * 16;
  return static_cast<size_t>(aligned + epilogue_scratch(state.epilogue, tile)) * sizeof(float);
}

std::string check_rows(const Problem& problem) {
  if (problem.inputs.size() + problem.outputs.size() > RowLoop::kMaxOperands)
    return fmt::format("{} operands, at most {} are taken",
                       problem.inputs.size() + problem.outputs.size(), RowLoop::kMaxOperands);
  for (const auto* list : {&problem.inputs, &problem.outputs})
    for (const Operand& o : *list) {
      if (o.dims.size() != o.strides.size())
        return fmt::format("an operand {} has {} strides", to_string(o.dims), o.strides.size());
      if (o.dims.size() > RowLoop::kMaxRank)
        return fmt::format("rank {}, at most {} is taken", o.dims.size(), RowLoop::kMaxRank);
    }
  return {};
}

int64_t units_per_task(int64_t total, double unit_cost, int64_t grain, int workers) {
  if (total <= 0) return std::max<int64_t>(grain, 1);
  // A task pays about 0.1 us to be fetched; 8 tasks a worker even out the end.
  constexpr double kShortest = 4000;  // ns
  constexpr int64_t kTasksEach = 8;
  const int64_t even = (total + workers * kTasksEach - 1) / (workers * kTasksEach);
  const auto least = static_cast<int64_t>(std::ceil(kShortest / std::max(unit_cost, 1e-3)));
  const int64_t units = std::min(std::max(even, least), total);
  return (units + grain - 1) / grain * grain;
}

}  // namespace vitrail
