// SPDX-License-Identifier: Apache-2.0
#include "kernels/reduce/family.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/reference.h"
#include "kernels/samples.h"

namespace vitrail {
namespace {
bool reduced(const Problem& problem, size_t axis) {
  return (problem.integer("axes", 0) >> axis & 1) != 0;
}
ReduceOp op_of(const Problem& problem) { return static_cast<ReduceOp>(problem.integer("op", 0)); }

double start_of(ReduceOp op) {
  if (op == ReduceOp::max) return -std::numeric_limits<double>::infinity();
  if (op == ReduceOp::min) return std::numeric_limits<double>::infinity();
  return op == ReduceOp::prod ? 1 : 0;
}

void reference(const BoundProblem& problem, const std::vector<Tensor>& inputs,
               std::vector<Tensor>& outputs) {
  const Problem& p = *problem.problem;
  const Tensor& x = inputs.at(0);
  const ReduceOp op = op_of(p);
  Tensor own(DType::f64, outputs.at(0).dims());
  double* to = own.mutable_data<double>();
  std::fill(to, to + own.size(), start_of(op));
  const Dims strides = row_major(own.dims());
  const double* from = x.data<double>();
  for_each_index(x.dims(), [&](const Dims& index) {
    int64_t at = 0;
    for (size_t i = 0; i < index.size(); ++i) at += reduced(p, i) ? 0 : index[i] * strides[i];
    const double v = *from++;
    double& sum = to[at];
    switch (op) {
      case ReduceOp::sum:
      case ReduceOp::mean:
        sum += v;
        break;
      case ReduceOp::l2:
      case ReduceOp::sumsq:
        sum += v * v;
        break;
      case ReduceOp::max:
        sum = evaluate(Pointwise::max, sum, v, 0);
        break;
      case ReduceOp::min:
        sum = evaluate(Pointwise::min, sum, v, 0);
        break;
      case ReduceOp::prod:
        sum *= v;
        break;
    }
  });
  const double count =
      own.size() > 0 ? static_cast<double>(x.size()) / static_cast<double>(own.size()) : 1;
  for (int64_t i = 0; i < own.size(); ++i) {
    if (op == ReduceOp::mean) to[i] /= count;
    if (op == ReduceOp::l2) to[i] = std::sqrt(to[i]);
  }
  apply_epilogue(p, own, inputs, outputs);
}

Problem make(Operand x, int64_t axes, ReduceOp op) {
  Shape dims = x.dims;
  for (size_t i = 0; i < dims.size(); ++i)
    if ((axes >> i & 1) != 0) dims[i] = 1;
  Problem p = sample_problem("reduce", {std::move(x)}, sample(dims));
  p.ints = {{"axes", axes}, {"op", static_cast<int64_t>(op)}};
  return p;
}

std::vector<Problem> samples() {
  const Expr n = Expr::symbol("N"), h = Expr::symbol("H");
  std::vector<Problem> out;
  for (int64_t i = 0; i <= static_cast<int64_t>(ReduceOp::prod); ++i) {
    const auto op = static_cast<ReduceOp>(i);
    // A product of many terms below 1 is 0: little to see there.
    const int64_t c = op == ReduceOp::prod ? 5 : 37;
    out.push_back(make(sample({n, h, c}), 0b100, op));
    out.push_back(make(sample({2, c, 3, 50}), op == ReduceOp::prod ? 0b0010 : 0b0110, op));
    out.push_back(make(strided({2, 21, c}, {21 * c, 1, 21}), 0b100, op));
  }
  out.push_back(make(sample({n, 5, h}), 0b111, ReduceOp::mean));
  out.push_back(make(sample({n, 5, h}), 0b101, ReduceOp::l2));
  out.push_back(make(sample({n, 5, h}), 0, ReduceOp::sum));
  out.push_back(make(window({3, n, 70}, {3, n + 2, 90}), 0b010, ReduceOp::mean));
  out.push_back(make(strided({4, n, h}, {1, 4 * h, 4}), 0b001, ReduceOp::max));
  out.push_back(make(sample({2, 5000}), 0b10, ReduceOp::mean));
  out.push_back(make(sample({5000, 18}), 0b01, ReduceOp::sum));
  for (EpilogueForm form : kEpilogueForms)
    out.push_back(with_epilogue(make(sample({3, n, 40}), 0b010, ReduceOp::mean), form));
  out.push_back(
      with_epilogue(make(sample({n, h, 9}), 0b100, ReduceOp::mean), EpilogueForm::activation));
  return out;
}

double flop(const BoundProblem& problem) {
  return static_cast<double>(element_count(problem.inputs[0].dims));
}
double tolerance(const BoundProblem& problem) {
  // Adding the k-th term rounds a partial sum of about 0.58 sqrt(k), in units of 2^-23 by a random
  // 0.17 sqrt(k): over a run of r terms 0.118 r units, over R runs sqrt(R) times that; adding up
  // the runs in turn gives 1.9 R. Six such deviations. A product errs by half a unit a factor.
  const double n =
      static_cast<double>(element_count(problem.inputs[0].dims)) /
      static_cast<double>(std::max<int64_t>(element_count(problem.outputs[0].dims), 1));
  const double run = std::min(n, 256.0), runs = std::ceil(n / 256);
  const double sum = 6 * (0.118 * run * std::sqrt(runs) + 1.9 * (runs - 1));
  return epilogue_tolerance(*problem.problem,
                            4 + (op_of(*problem.problem) == ReduceOp::mean ? sum / n : sum));
}
std::vector<BenchCase> bench() {
  return {{"pool 49x768", make(sample({1, 49, 768}), 0b010, ReduceOp::mean)},
          {"channel mean 3136x64", make(sample({3136, 64}), 0b10, ReduceOp::mean)},
          {"squares 65536x32", make(sample({65536, 32}), 0b01, ReduceOp::sumsq)},
          {"all of 2M", make(sample({1 << 21}), 0b1, ReduceOp::sum)}};
}

/// The kept axes only, the output's densest last.
BoundProblem keep(const BoundProblem& problem) {
  BoundProblem out = problem;
  const BoundOperand& to = problem.outputs[0];
  std::vector<size_t> axes;
  for (size_t i = 0; i < to.dims.size(); ++i)
    if (!reduced(*problem.problem, i) && to.dims[i] != 1) axes.push_back(i);
  std::stable_sort(axes.begin(), axes.end(),
                   [&](size_t a, size_t b) { return to.strides[a] > to.strides[b]; });
  std::vector<BoundOperand*> all;
  for (auto* list : {&out.inputs, &out.outputs})
    for (BoundOperand& o : *list) all.push_back(&o);
  Dims dims;
  std::vector<Dims> strides(all.size());
  for (size_t axis : axes) {
    dims.push_back(to.dims[axis]);
    for (size_t o = 0; o < all.size(); ++o) strides[o].push_back(all[o]->strides[axis]);
  }
  const RowLoop merged = make_rows(dims, strides);
  for (size_t o = 0; o < all.size(); ++o) {
    all[o]->dims.assign(merged.dims, merged.dims + merged.rank);
    all[o]->strides.assign(merged.strides[o], merged.strides[o] + merged.rank);
    if (merged.rank == 0) all[o]->dims = all[o]->strides = {1};
  }
  return out;
}
}  // namespace

Refusal reduce_accepts(const Problem& problem) {
  if (problem.inputs.empty() || problem.outputs.empty()) return "needs an input and an output";
  if (problem.epilogue.inputs > 1 && problem.epilogue_inputs < 1)
    return "the epilogue's operands start before x ends";
  if (Refusal why = check_rows(problem); !why.empty()) return why;
  if (Refusal why = check_epilogue(problem); !why.empty()) return why;
  if (Refusal why = check_epilogue_size(problem.epilogue); !why.empty()) return why;
  const Operand &x = problem.inputs[0], &out = problem.outputs[0];
  if (x.dtype != DType::f32) return fmt::format("input is {}, not f32", name_of(x.dtype));
  if (x.dims.size() != out.dims.size()) return "input and output differ in rank";
  for (size_t i = 0; i < x.dims.size(); ++i)
    if (reduced(problem, i) ? !out.dims[i].is(1) : out.dims[i] != x.dims[i])
      return fmt::format("output {} is not {} reduced over the axes {:#b}", to_string(out.dims),
                         to_string(x.dims), problem.integer("axes", 0));
  const int64_t op = problem.integer("op", 0);
  if (op < 0 || op > static_cast<int64_t>(ReduceOp::prod))
    return fmt::format("op {} is not known", op);
  return {};
}
std::vector<Tactic> reduce_tactics(const BoundProblem&, const Machine&, int) { return {{}}; }

Launch reduce_bind(const BoundProblem& problem, const Tactic&, const Machine&, int workers) {
  const BoundOperand& x = problem.inputs.at(0);
  Dims dims, strides;
  std::vector<size_t> axes;
  for (size_t i = 0; i < x.dims.size(); ++i)
    if (reduced(*problem.problem, i)) axes.push_back(i);
  std::stable_sort(axes.begin(), axes.end(),
                   [&](size_t a, size_t b) { return x.strides[a] > x.strides[b]; });
  for (size_t i : axes) {
    dims.push_back(x.dims[i]);
    strides.push_back(x.strides[i]);
  }
  ReduceState state{};
  state.terms = make_rows(dims, {strides});
  state.op = op_of(*problem.problem);
  state.inverse_count = 1.0f / static_cast<float>(state.terms.rows);
  const double nanoseconds = 0.1 * static_cast<double>(std::max<int64_t>(state.terms.rows, 1));
  state.rows = bind_rows(keep(problem), nanoseconds, workers);
  RowState& rows = state.rows;
  // Columns are what tasks are split by when there are few rows.
  constexpr int64_t kChunk = 64;
  state.chunk = std::clamp<int64_t>(rows.cols, 1, kChunk);
  state.col_tasks = (rows.cols + state.chunk - 1) / state.chunk;
  // Few columns leave lanes empty; where the terms are neighbours too, they fill them.
  constexpr int64_t kFewColumns = 8;
  state.by_column = rows.col[0] == 1 && (rows.cols >= kFewColumns || state.terms.step(0) != 1);
  rows.ld = kChunk;
  rows.tile_rows = 1;
  const int64_t units = rows.loop.rows * state.col_tasks;
  rows.rows_per_task =
      units_per_task(units, nanoseconds * static_cast<double>(state.chunk), 1, workers);
  Launch launch;
  launch.tasks = (units + rows.rows_per_task - 1) / rows.rows_per_task;
  launch.scratch_bytes = row_scratch(rows);
  append_state(launch.state, state);
  return launch;
}

extern const KernelFamily reduce_family{"reduce", nullptr,   reference, samples,
                                        flop,     tolerance, bench};

}  // namespace vitrail
