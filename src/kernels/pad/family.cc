// SPDX-License-Identifier: Apache-2.0
#include "kernels/pad/family.h"

#include <algorithm>
#include <cstring>

#include "kernels/reference.h"
#include "kernels/samples.h"

namespace vitrail {
namespace {
enum Mode : int64_t { kConstant, kReflect, kEdge, kWrap };

int64_t before(const Problem& problem, size_t axis) {
  return problem.integer(fmt::format("before{}", axis), 0);
}

/// The input index for index `i` counted from the input's first element; -1: the constant.
int64_t source(int64_t i, int64_t extent, int64_t mode) {
  if (0 <= i && i < extent) return i;
  if (mode == kConstant || extent == 0) return -1;
  const auto modulo = [](int64_t a, int64_t b) { return ((a % b) + b) % b; };
  if (mode == kEdge) return i < 0 ? 0 : extent - 1;
  if (mode == kWrap) return modulo(i, extent);
  if (extent == 1) return 0;
  const int64_t period = 2 * (extent - 1), at = modulo(i, period);
  return at < extent ? at : period - at;
}

void reference(const BoundProblem& problem, const std::vector<Tensor>& inputs,
               std::vector<Tensor>& outputs) {
  const Problem& p = *problem.problem;
  const Tensor& x = inputs.at(0);
  Tensor& out = outputs.at(0);
  const Tensor value = Tensor::of<double>({1}, {p.number("value", 0)}).cast(out.dtype());
  const Dims strides = row_major(x.dims());
  const size_t size = size_of(out.dtype());
  auto* to = static_cast<std::byte*>(out.mutable_raw());
  for_each_index(out.dims(), [&](const Dims& index) {
    int64_t at = 0;
    bool inside = true;
    for (size_t i = 0; i < index.size(); ++i) {
      const int64_t s = source(index[i] - before(p, i), x.dims()[i], p.integer("mode", 0));
      inside &= s >= 0;
      at += s * strides[i];
    }
    const auto* from = inside
                           ? static_cast<const std::byte*>(x.raw()) + static_cast<size_t>(at) * size
                           : static_cast<const std::byte*>(value.raw());
    std::memcpy(to, from, size);
    to += size;
  });
}

Problem make(Operand in, const Dims& front, const Dims& back, int64_t mode, bool dense = true) {
  Shape dims = in.dims, wider = in.dims;
  std::map<std::string, int64_t> ints{{"mode", mode}};
  for (size_t i = 0; i < dims.size(); ++i) {
    dims[i] = dims[i] + front[i] + back[i];
    wider[i] = dims[i] + 2;
    ints[fmt::format("before{}", i)] = front[i];
  }
  Operand out = dense ? sample(dims) : window(dims, wider);
  out.dtype = in.dtype;
  Problem p = sample_problem("pad", {std::move(in)}, std::move(out));
  p.ints = ints;
  p.floats = {{"value", 0.75}};
  return p;
}

std::vector<Problem> samples() {
  const Expr h = Expr::symbol("H") + 3, w = Expr::symbol("W") + 3;  // reflection by 3 needs 4
  std::vector<Problem> out;
  for (int64_t mode : {kConstant, kReflect, kEdge, kWrap}) {
    out.push_back(make(sample({2, h, w, 5}), {0, 1, 2, 0}, {0, 3, 1, 0}, mode));
    out.push_back(
        make(window({2, 3, h, w}, {2, 3, h + 1, w + 4}), {0, 0, 3, 1}, {0, 0, 0, 2}, mode, false));
    out.push_back(make(strided({h, w}, {1, h}), {1, 1}, {1, -1}, mode));
    Operand bytes = sample({h, 6});
    bytes.dtype = mode % 2 == 0 ? DType::u8 : DType::i64;
    out.push_back(make(bytes, {1, -2}, {-1, 3}, mode));
  }
  return out;
}
double flop(const BoundProblem&) { return 0; }
double tolerance(const BoundProblem&) { return 0; }
std::vector<BenchCase> bench() {
  return {
      {"mst++ 512x482x31 to 488",
       make(sample({1, 512, 482, 31}), {0, 0, 0, 0}, {0, 0, 6, 0}, kReflect)},
      {"border 224x224x3", make(sample({1, 224, 224, 3}), {0, 3, 3, 0}, {0, 3, 3, 0}, kConstant)}};
}
}  // namespace

Refusal pad_accepts(const Problem& problem) {
  if (problem.inputs.size() != 1 || problem.outputs.size() != 1)
    return "needs one input and one output";
  if (Refusal why = check_rows(problem); !why.empty()) return why;
  if (!problem.epilogue.identity()) return "takes no epilogue";
  const Operand &in = problem.inputs[0], &out = problem.outputs[0];
  if (in.dtype != out.dtype)
    return fmt::format("input is {}, output {}", name_of(in.dtype), name_of(out.dtype));
  if (in.dtype == DType::string) return "strings are not padded";
  if (in.dims.size() != out.dims.size()) return "input and output differ in rank";
  // A limit that keeps the arithmetic of a damaged plan inside 64 bits.
  constexpr int64_t kMaxPad = int64_t{1} << 40;
  for (size_t axis = 0; axis < in.dims.size(); ++axis)
    if (before(problem, axis) < -kMaxPad || before(problem, axis) > kMaxPad)
      return fmt::format("before{} is {}", axis, before(problem, axis));
  const int64_t mode = problem.integer("mode", 0);
  if (mode < kConstant || mode > kWrap) return fmt::format("mode {} is not known", mode);
  return {};
}
std::vector<Tactic> pad_tactics(const BoundProblem&, const Machine&, int) { return {{}}; }

Launch pad_bind(const BoundProblem& problem, const Tactic&, const Machine&, int workers) {
  const BoundOperand &in = problem.inputs.at(0), &out = problem.outputs.at(0);
  const Problem& p = *problem.problem;
  PadState state{};
  state.size = static_cast<int64_t>(size_of(in.dtype));
  const Tensor value = Tensor::of<double>({1}, {p.number("value", 0)}).cast(in.dtype);
  std::memcpy(&state.value, value.raw(), value.bytes());
  // Trailing axes that are dense on both sides and not padded move as one block.
  size_t rank = out.dims.size();
  state.block = 1;
  while (rank > 0 && in.dims[rank - 1] == out.dims[rank - 1] && before(p, rank - 1) == 0 &&
         (out.dims[rank - 1] == 1 ||
          (in.strides[rank - 1] == state.block && out.strides[rank - 1] == state.block)))
    state.block *= out.dims[--rank];
  state.rank = static_cast<int64_t>(rank);
  state.rows = 1;
  for (size_t i = 0; i < rank; ++i) {
    state.dims[i] = out.dims[i];
    state.in[i] = in.strides[i];
    state.out[i] = out.strides[i];
    if (i + 1 < rank) state.rows *= out.dims[i];
  }
  const int64_t row = (rank > 0 ? out.dims[rank - 1] : 1) * state.block;
  state.rows_per_task =
      units_per_task(state.rows, static_cast<double>(row * state.size) / 8, 1, workers);
  Launch launch;
  if (element_count(out.dims) > 0)
    launch.tasks = (state.rows + state.rows_per_task - 1) / state.rows_per_task;
  append_state(launch.state, state);
  for (size_t i = 0; i < rank; ++i)
    for (int64_t j = 0; j < out.dims[i]; ++j)
      launch.state.push_back(source(j - before(p, i), in.dims[i], p.integer("mode", 0)));
  return launch;
}

extern const KernelFamily pad_family{"pad", nullptr, reference, samples, flop, tolerance, bench};

}  // namespace vitrail
