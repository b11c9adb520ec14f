// SPDX-License-Identifier: Apache-2.0
#include "kernels/pointwise/family.h"

#include <algorithm>
#include <numeric>

#include "kernels/reference.h"
#include "kernels/samples.h"

namespace vitrail {
namespace {
void reference(const BoundProblem& problem, const std::vector<Tensor>& inputs,
               std::vector<Tensor>& outputs) {
  apply_epilogue(*problem.problem, inputs.at(0), inputs, outputs);
}

/// The problem with its axes in another order and merged: columns are the axis along which the
/// output is contiguous (or the last), as long as all operands allow.
BoundProblem flatten(const BoundProblem& problem) {
  BoundProblem out = problem;
  const Dims dims = problem.outputs[0].dims;
  std::vector<size_t> order(dims.size());
  std::iota(order.begin(), order.end(), 0);
  const Dims& along = problem.outputs[0].strides;
  // Axes of extent 1 go first, where they vanish.
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::pair(dims[a] != 1, -along[a]) < std::pair(dims[b] != 1, -along[b]);
  });
  std::vector<BoundOperand*> all;
  for (BoundOperand& o : out.inputs) all.push_back(&o);
  for (BoundOperand& o : out.outputs) all.push_back(&o);
  std::vector<Dims> strides;
  Dims sorted;
  for (size_t axis : order) sorted.push_back(dims[axis]);
  for (const BoundOperand* o : all) {
    Dims s;
    for (size_t axis : order) s.push_back(o->strides[axis]);
    strides.push_back(s);
  }
  const RowLoop merged = make_rows(sorted, strides);
  for (size_t o = 0; o < all.size(); ++o) {
    all[o]->dims.assign(merged.dims, merged.dims + merged.rank);
    all[o]->strides.assign(merged.strides[o], merged.strides[o] + merged.rank);
    if (merged.rank == 0) all[o]->dims = all[o]->strides = {1};
  }
  return out;
}

std::vector<Problem> samples() {
  const Expr n = Expr::symbol("N"), h = Expr::symbol("H");
  using enum Pointwise;
  std::vector<Problem> out;
  const auto make = [&](std::vector<Operand> inputs, Operand output,
                        std::vector<PointwiseInstr> code) {
    const auto count = static_cast<int>(inputs.size());
    Problem p = sample_problem("pointwise", std::move(inputs), std::move(output));
    p.epilogue_inputs = 1;
    p.epilogue = {count, std::move(code), {}};
    p.epilogue.results = {
        static_cast<int16_t>(count + static_cast<int>(p.epilogue.code.size()) - 1)};
    out.push_back(p);
  };
  // Every instruction once, on arguments where its slope is moderate.
  for (int i = 0; i < kPointwiseCount; ++i) {
    const auto op = static_cast<Pointwise>(i);
    const std::vector<Operand> two{sample({n, 37}), sample({n, 37})};
    if (op == div || op == pow || op == log || op == sqrt || op == reciprocal) {
      // |x| + 1/2 as the operand that must be positive.
      const bool second = op == div;
      make(two, sample({n, 37}),
           {{abs, int16_t(second), 0, 0},
            {constant, 0, 0, 0.5f},
            {add, 2, 3, 0},
            {op, int16_t(second ? 0 : 4), int16_t(second ? 4 : 1), 0}});
    } else if (op == floor || op == ceil || op == round) {
      make({sample({n, 37})}, sample({n, 37}),
           {{constant, 0, 0, 8}, {mul, 0, 1, 0}, {op, 2, 0, 0}});
    } else if (arity_of(op) == 2) {
      make(two, sample({n, 37}), {{op, 0, 1, 0}});
    } else {
      make({sample({n, 37})}, sample({n, 37}), {{op, 0, 0, 1.7f}});
    }
  }
  const std::vector<PointwiseInstr> sum{{add, 0, 1, 0}}, product{{mul, 0, 1, 0}, {add, 2, 0, 0}};
  make({sample({n, h, 5}), strided({n, h, 5}, {0, 0, 1})}, sample({n, h, 5}), sum);  // bias
  make({sample({n, h, 5}), strided({n, h, 5}, {5, 0, 1})}, sample({n, h, 5}),
       product);  // per image
  make({strided({n, h, 5}, {0, 1, 0}), sample({n, h, 5})}, sample({n, h, 5}),
       product);  // per pixel
  make({strided({n, 33}, {0, 0}), strided({n, 33}, {1, n})}, sample({n, 33}),
       sum);  // scalar, transposed
  make({sample({n, 12, h}), window({n, 12, h}, {n, 14, h + 9})},
       strided({n, 12, h}, {12 * h, 1, 12}), sum);
  make({sample({1, 9000}), sample({1, 9000})}, sample({1, 9000}), sum);
  make({sample({}), sample({})}, sample({}), sum);
  make({window({3, 2, n, 1, 5, 3}, {4, 3, n + 1, 2, 6, 4}), sample({3, 2, n, 1, 5, 3})},
       sample({3, 2, n, 1, 5, 3}), product);
  // More than one result, and an input passed on.
  make({sample({n, 40}), sample({n, 40}), sample({n, 40})}, sample({n, 40}),
       {{add, 0, 1, 0}, {mul, 3, 2, 0}});
  out.back().outputs.push_back(sample({n, 40}));
  out.back().epilogue.results = {4, 3};
  make({strided({n, 18}, {0, 1})}, sample({n, 18}), {});  // identity: a broadcast copy
  out.back().epilogue.results = {0};
  return out;
}

double flop(const BoundProblem& problem) {
  return static_cast<double>(element_count(problem.outputs[0].dims)) *
         static_cast<double>(problem.problem->epilogue.code.size());
}
double tolerance(const BoundProblem& problem) { return epilogue_tolerance(*problem.problem, 0); }

std::vector<BenchCase> bench() {
  using enum Pointwise;
  Problem sum =
      sample_problem("pointwise", {sample({3136, 64}), sample({3136, 64})}, sample({3136, 64}));
  sum.epilogue_inputs = 1;
  sum.epilogue = {2, {{add, 0, 1, 0}}, {2}};
  Problem gelu_sum = sum;
  gelu_sum.epilogue = {2, {{gelu, 0, 0, 0}, {add, 2, 1, 0}}, {3}};
  Problem program = sum;
  program.epilogue = {2, {{gelu_tanh, 0, 0, 0}, {mul, 2, 1, 0}, {sigmoid, 3, 0, 0}}, {4}};
  Problem large = sum;
  large.inputs = {sample({8 << 20}), sample({8 << 20})};
  large.outputs = {sample({8 << 20})};
  return {{"add 3136x64", sum},
          {"gelu add 3136x64", gelu_sum},
          {"program 3136x64", program},
          {"add 8M", large}};
}
}  // namespace

Refusal pointwise_accepts(const Problem& problem) {
  if (problem.inputs.empty() || problem.outputs.empty()) return "needs an input and an output";
  if (problem.epilogue.inputs > 1 && problem.epilogue_inputs != 1)
    return "epilogue_inputs is not 1";
  if (Refusal why = check_rows(problem); !why.empty()) return why;
  if (Refusal why = check_epilogue(problem); !why.empty()) return why;
  if (Refusal why = check_epilogue_size(problem.epilogue); !why.empty()) return why;
  for (const Operand& in : problem.inputs) {
    if (in.dtype != DType::f32) return fmt::format("an input is {}, not f32", name_of(in.dtype));
    if (in.dims != problem.outputs[0].dims)
      return fmt::format("an input is {}, the output {}", to_string(in.dims),
                         to_string(problem.outputs[0].dims));
  }
  return {};
}
std::vector<Tactic> pointwise_tactics(const BoundProblem&, const Machine&, int) { return {{}}; }

Launch pointwise_bind(const BoundProblem& problem, const Tactic&, const Machine&, int workers) {
  // Small enough for a dozen buffers in the first-level cache's reach, long enough to hide the
  // switch.
  constexpr int64_t kTile = 2048;
  const BoundProblem flat = flatten(problem);
  const double nanoseconds = 0.2 + 0.2 * static_cast<double>(problem.problem->epilogue.code.size());
  PointwiseState state{};
  state.rows = bind_rows(flat, nanoseconds, workers);
  RowState& rows = state.rows;
  const int64_t chunks = std::max<int64_t>((rows.cols + kTile - 1) / kTile, 1);
  state.chunk = chunks == 1 ? rows.cols : kTile;
  // Tiles are dense: the program then runs over rows and columns in one loop.
  rows.ld = std::max<int64_t>(state.chunk, 1);
  rows.tile_rows = std::max<int64_t>(kTile / rows.ld, 1);
  // With long rows the tasks are ranges of (row, chunk) pairs.
  state.col_tasks = chunks;
  rows.rows_per_task = units_per_task(rows.loop.rows * chunks,
                                      nanoseconds * static_cast<double>(rows.ld), 1, workers);
  Launch launch;
  const int64_t units = rows.cols == 0 ? 0 : rows.loop.rows * chunks;
  launch.tasks = (units + rows.rows_per_task - 1) / rows.rows_per_task;
  launch.scratch_bytes = row_scratch(rows);
  append_state(launch.state, state);
  return launch;
}

extern const KernelFamily pointwise_family{"pointwise", nullptr,   reference, samples,
                                           flop,        tolerance, bench};

}  // namespace vitrail
