// SPDX-License-Identifier: Apache-2.0
#include "kernels/copy/family.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "kernels/samples.h"

namespace vitrail {
namespace {
void reference(const BoundProblem&, const std::vector<Tensor>& inputs,
               std::vector<Tensor>& outputs) {
  if (inputs.at(0).bytes() > 0)
    std::memcpy(outputs.at(0).mutable_raw(), inputs[0].raw(), inputs[0].bytes());
}

std::vector<Problem> samples() {
  const Expr n = Expr::symbol("N"), h = Expr::symbol("H");
  std::vector<Problem> out;
  const auto add = [&](Operand in, Operand to) {
    out.push_back(sample_problem("copy", {std::move(in)}, std::move(to)));
  };
  for (DType type : {DType::f32, DType::i64, DType::f16, DType::u8, DType::boolean}) {
    const auto typed = [&](Operand o) {
      o.dtype = type;
      return o;
    };
    // Channels last to channels first and back; 31 channels in 32.
    add(typed(sample({2, h, 7, 5})), typed(strided({2, h, 7, 5}, {5 * h * 7, 7, 1, h * 7})));
    add(typed(strided({n, h, 31}, {32 * h, 1, h})), typed(sample({n, h, 31})));
    add(typed(window({n, h, 31}, {n, h, 32})), typed(sample({n, h, 31})));
    add(typed(strided({n, 9}, {0, 1})), typed(sample({n, 9})));
    add(typed(strided({n, h}, {1, 0})), typed(sample({n, h})));
    add(typed(sample({})), typed(sample({})));
  }
  add(sample({20000}), sample({20000}));
  add(strided({n, h}, {2, 2 * n}), strided({n, h}, {3 * h, 3}));
  add(window({2, 3, n, 2, 3, 2}, {2, 4, n, 3, 3, 3}),
      strided({2, 3, n, 2, 3, 2}, {1, 72 * n, 2, 12 * n, 24 * n, 2 * n}));
  return out;
}
double flop(const BoundProblem&) { return 0; }
double tolerance(const BoundProblem&) { return 0; }

std::vector<BenchCase> bench() {
  const Shape image{1, 256, 256, 32};
  return {{"dense 8 MiB", sample_problem("copy", {sample(image)}, sample(image))},
          {"nhwc to nchw 256x256x32",
           sample_problem("copy", {sample(image)}, strided(image, {1 << 21, 256, 1, 1 << 16}))},
          {"nchw to nhwc 256x256x32",
           sample_problem("copy", {strided(image, {1 << 21, 256, 1, 1 << 16})}, sample(image))},
          {"31 of 32 channels",
           sample_problem("copy", {window({65536, 31}, {65536, 32})}, sample({65536, 31}))},
          {"heads 197x6x64", sample_problem("copy", {sample({197, 6, 64})},
                                            strided({197, 6, 64}, {64, 197 * 64, 1}))}};
}
}  // namespace

Refusal copy_accepts(const Problem& problem) {
  if (problem.inputs.size() != 1 || problem.outputs.size() != 1)
    return "needs one input and one output";
  if (Refusal why = check_rows(problem); !why.empty()) return why;
  if (!problem.epilogue.identity()) return "takes no epilogue";
  const Operand &in = problem.inputs[0], &out = problem.outputs[0];
  if (in.dtype != out.dtype)
    return fmt::format("{} to {} is not a copy", name_of(in.dtype), name_of(out.dtype));
  if (in.dtype == DType::string) return "strings are not copied";
  if (in.dims != out.dims)
    return fmt::format("input {} and output {} differ", to_string(in.dims), to_string(out.dims));
  return {};
}
std::vector<Tactic> copy_tactics(const BoundProblem&, const Machine&, int) { return {{}}; }

Launch copy_bind(const BoundProblem& problem, const Tactic&, const Machine&, int workers) {
  const BoundOperand &in = problem.inputs.at(0), &out = problem.outputs.at(0);
  std::vector<size_t> order(out.dims.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return out.strides[a] > out.strides[b]; });
  Dims dims;
  std::vector<Dims> strides(2);
  for (size_t axis : order) {
    dims.push_back(out.dims[axis]);
    strides[0].push_back(in.strides[axis]);
    strides[1].push_back(out.strides[axis]);
  }
  RowLoop all = make_rows(dims, strides);
  CopyState state{};
  state.size = static_cast<int64_t>(size_of(in.dtype));
  // Takes an axis out of the loop and returns its extent.
  const auto take = [&](int64_t axis, int64_t* in_stride, int64_t* out_stride) {
    if (axis < 0) return int64_t{1};
    const int64_t extent = all.dims[axis];
    *in_stride = all.strides[0][axis];
    *out_stride = all.strides[1][axis];
    for (int64_t i = axis; i + 1 < all.rank; ++i) {
      all.dims[i] = all.dims[i + 1];
      for (auto& s : all.strides) s[i] = s[i + 1];
    }
    --all.rank;
    return extent;
  };
  const bool empty = all.rows == 0;
  state.cols = take(all.rank - 1, &state.in_col, &state.out_col);
  int64_t densest = all.rank - 1;
  for (int64_t i = 0; i < all.rank; ++i)
    if (all.strides[0][i] != 0 &&
        (all.strides[0][densest] == 0 || all.strides[0][i] < all.strides[0][densest]))
      densest = i;
  state.rows = take(state.in_col <= 1 ? all.rank - 1 : densest, &state.in_row, &state.out_row);
  state.outer = all;
  state.outer.rows = 1;
  for (int64_t i = 0; i < all.rank; ++i) state.outer.rows *= all.dims[i];
  // Blocks of at most 16384 elements; of a transposed plane nearly square, so that both sides use
  // whole cache lines.
  constexpr int64_t kBlock = 16384, kSide = 64;
  const bool transposed = state.in_col > 1;
  state.block_cols = std::min(state.cols, transposed ? kSide * 4 : kBlock);
  state.block_rows =
      std::clamp<int64_t>(transposed ? kSide : kBlock / std::max<int64_t>(state.block_cols, 1), 1,
                          std::max<int64_t>(state.rows, 1));
  Launch launch;
  if (!empty) {
    state.row_blocks = (state.rows + state.block_rows - 1) / state.block_rows;
    state.col_blocks = (state.cols + state.block_cols - 1) / state.block_cols;
    state.units = state.outer.rows * state.row_blocks * state.col_blocks;
    const double nanoseconds =
        static_cast<double>(state.block_rows * state.block_cols * state.size) / 16;
    state.units_per_task = units_per_task(state.units, nanoseconds, 1, workers);
    launch.tasks = (state.units + state.units_per_task - 1) / state.units_per_task;
  }
  append_state(launch.state, state);
  return launch;
}

extern const KernelFamily copy_family{"copy", nullptr, reference, samples, flop, tolerance, bench};

}  // namespace vitrail
