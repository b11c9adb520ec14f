// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/family.h"

#include <algorithm>
#include <cmath>

#include "kernels/reference.h"
#include "kernels/samples.h"

namespace vitrail {
namespace {
void reference(const BoundProblem& problem, const std::vector<Tensor>& inputs,
               std::vector<Tensor>& outputs) {
  const Problem& p = *problem.problem;
  const Tensor &q = inputs.at(0), &k = inputs.at(1), &v = inputs.at(2);
  const bool masked = p.integer("has_mask", 0) != 0;
  const size_t rank = q.rank();
  const int64_t m = q.dims()[rank - 2], d = q.dims()[rank - 1], t = k.dims()[rank - 2],
                dv = v.dims()[rank - 1];
  Tensor own(DType::f64, outputs.at(0).dims());
  std::vector<double> scores(static_cast<size_t>(t));
  const int64_t rows = m * dv == 0 ? 0 : own.size() / dv;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t b = r / m;
    for (int64_t j = 0; j < t; ++j) {
      double sum = 0;
      for (int64_t i = 0; i < d; ++i)
        sum += q.data<double>()[r * d + i] * k.data<double>()[(b * t + j) * d + i];
      scores[static_cast<size_t>(j)] =
          sum * p.number("scale", 1) + (masked ? inputs[3].data<double>()[r * t + j] : 0.0);
    }
    const double most = t > 0 ? *std::max_element(scores.begin(), scores.end()) : 0;
    double total = 0;
    for (double& s : scores) total += s = std::exp(s - most);
    for (int64_t i = 0; i < dv; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < t; ++j)
        sum += scores[static_cast<size_t>(j)] * v.data<double>()[(b * t + j) * dv + i];
      own.mutable_data<double>()[r * dv + i] = sum / total;
    }
  }
  apply_epilogue(p, own, inputs, outputs);
}

Problem make(Operand q, Operand k, Operand v, Operand out, double scale) {
  Problem p =
      sample_problem("attention", {std::move(q), std::move(k), std::move(v)}, std::move(out));
  p.floats = {{"scale", scale}};
  return p;
}
Problem dense(Shape batch, Expr m, Expr t, int64_t d, int64_t dv) {
  const auto of = [&](const Expr& rows, int64_t cols) {
    Shape dims = batch;
    dims.push_back(rows);
    dims.push_back(cols);
    return sample(dims);
  };
  return make(of(m, d), of(t, d), of(t, dv), of(m, dv), 1 / std::sqrt(static_cast<double>(d)));
}
/// Heads inside tokens: [n, m, heads * d] seen as [n, heads, m, d].
Operand heads(const Expr& n, int64_t count, const Expr& rows, int64_t d) {
  return strided({n, count, rows, d}, {rows * count * d, d, count * d, 1});
}

std::vector<Problem> samples() {
  const Expr n = Expr::symbol("N"), m = Expr::symbol("M");
  std::vector<Problem> out;
  out.push_back(dense({2}, m, n, 64, 64));
  out.push_back(dense({}, m, n, 36, 20));
  out.push_back(dense({1, 3}, 14, 197, 32, 49));
  out.push_back(dense({1}, 3, 1030, 7, 5));
  out.push_back(dense({1}, 2, 512, 16, 130));
  out.push_back(
      make(heads(2, 3, m, 24), heads(2, 3, n, 24), heads(2, 3, n, 24), heads(2, 3, m, 24), 0.3));
  // Many queries: whole groups of 64 and a rest, keys of one step and of several.
  out.push_back(with_epilogue(dense({2}, 197, 150, 64, 64), EpilogueForm::full));
  out.push_back(dense({1, 3}, 70, 333, 32, 48));
  out.push_back(dense({1}, 65, 784, 96, 128));
  out.push_back(make(heads(2, 3, 130, 64), heads(2, 3, 50, 64), heads(2, 3, 50, 64),
                     heads(2, 3, 130, 64), -0.125));
  // One k and v for all heads; fixed order.
  Problem shared = make(heads(2, 3, m, 24), strided({2, 3, n, 24}, {24 * n, 0, 24, 1}),
                        strided({2, 3, n, 8}, {8 * n, 0, 8, 1}), sample({2, 3, m, 8}), -0.5);
  shared.fixed_order = true;
  out.push_back(shared);
  for (const Operand& mask :
       {strided({2, 3, m, n}, {0, 0, n, 1}), strided({2, 3, m, n}, {n, 0, 0, 1}),
        strided({2, 3, m, n}, {0, m, 1, 0})}) {
    Problem p = dense({2, 3}, m, n, 16, 16);
    p.inputs.push_back(mask);
    p.ints = {{"has_mask", 1}};
    p.epilogue_inputs = 4;
    out.push_back(p);
    out.push_back(with_epilogue(p, EpilogueForm::full));
  }
  for (EpilogueForm form : kEpilogueForms)
    out.push_back(with_epilogue(dense({2}, m, n, 20, 33), form));
  return out;
}

double flop(const BoundProblem& problem) {
  const Dims &q = problem.inputs[0].dims, &v = problem.inputs[2].dims;
  return 2.0 * static_cast<double>(element_count(q)) * static_cast<double>(v[v.size() - 2]) *
         (1 + static_cast<double>(v.back()) / static_cast<double>(std::max<int64_t>(q.back(), 1)));
}
double tolerance(const BoundProblem& problem) {
  // Scores: d products below 1 in vector lanes, so d / 8 half units at most, times scale; twice
  // that, as the row's maximum errs too, is the relative error of each exponential. The sums over t
  // have positive weights that total 1 and err by t / 32 units at most with random signs; 8 for the
  // rest.
  const auto d = static_cast<double>(problem.inputs[0].dims.back());
  const auto t = static_cast<double>(problem.inputs[1].dims[problem.inputs[1].dims.size() - 2]);
  const double own = 8 + d / 8 * std::fabs(problem.problem->number("scale", 1)) + t / 32;
  return epilogue_tolerance(*problem.problem, own);
}
std::vector<BenchCase> bench() {
  const auto cvt = [](int64_t count, int64_t m, int64_t t) {
    return make(heads(1, count, m, 64), heads(1, count, t, 64), heads(1, count, t, 64),
                heads(1, count, m, 64), 0.125);
  };
  return {{"cvt13 stage 1 3136x784x64", cvt(1, 3136, 784)},
          {"cvt13 stage 2 3x784x196x64", cvt(3, 784, 196)},
          {"cvt13 stage 3 6x197x197x64", cvt(6, 197, 197)},
          {"mobilevit 4x4x256x256x36", dense({4, 4}, 256, 256, 36, 36)}};
}
}  // namespace

Refusal attention_accepts(const Problem& problem) {
  const bool masked = problem.integer("has_mask", 0) != 0;
  const size_t own = masked ? 4 : 3;
  if (problem.inputs.size() < own || problem.outputs.empty())
    return "needs q, k, v, a mask if has_mask, and an output";
  if (problem.epilogue.inputs > 1 && problem.epilogue_inputs < static_cast<int>(own))
    return "the epilogue's operands start before q, k, v end";
  if (Refusal why = check_rows(problem); !why.empty()) return why;
  if (Refusal why = check_epilogue(problem); !why.empty()) return why;
  if (Refusal why = check_epilogue_size(problem.epilogue); !why.empty()) return why;
  const size_t rank = problem.outputs[0].dims.size();
  if (rank < 2) return "rank below 2";
  const Shape &q = problem.inputs[0].dims, &k = problem.inputs[1].dims, &v = problem.inputs[2].dims;
  const char* names[] = {"q", "k", "v", "mask"};
  for (size_t i = 0; i < own; ++i) {
    const Operand& in = problem.inputs[i];
    if (in.dtype != DType::f32)
      return fmt::format("{} is {}, not f32", names[i], name_of(in.dtype));
    if (in.dims.size() != rank)
      return fmt::format("{} has rank {}, the output {}", names[i], in.dims.size(), rank);
    if (i < 3 && !in.strides.back().is(1))
      return fmt::format("the last stride of {} is not 1", names[i]);
    for (size_t axis = 0; axis + 2 < rank; ++axis)
      if (in.dims[axis] != problem.outputs[0].dims[axis])
        return fmt::format("batch axes of {} differ from the output's", names[i]);
  }
  const Expr &m = q[rank - 2], &t = k[rank - 2];
  Shape expected(q.begin(), q.end() - 1);
  expected.push_back(v[rank - 1]);
  if (problem.outputs[0].dims != expected)
    return fmt::format("output is {}, expected {}", to_string(problem.outputs[0].dims),
                       to_string(expected));
  if (k[rank - 1] != q[rank - 1] || v[rank - 2] != t) return "extents of q, k and v do not match";
  if (masked && (problem.inputs[3].dims[rank - 2] != m || problem.inputs[3].dims[rank - 1] != t))
    return "the mask is not [batch..., m, t]";
  return {};
}

namespace {
/// Rows of a task: whole batch indices where they spread evenly over the workers; else split, but
/// not below the rows that pay for packing k and v anew.
int64_t default_rows(int64_t batches, int64_t m, int workers) {
  constexpr int64_t kTasksEach = 4, kFewest = 48;
  if (batches % workers == 0 || m <= kFewest) return m;
  const int64_t splits =
      std::clamp<int64_t>((workers * kTasksEach + batches - 1) / batches, 1, m / kFewest);
  return (m + splits - 1) / splits;
}
int64_t batches_of(const BoundProblem& problem) {
  const Dims& dims = problem.outputs.at(0).dims;
  return element_count(Dims(dims.begin(), dims.end() - 2));
}
}  // namespace

std::vector<Tactic> attention_tactics(const BoundProblem& problem, const Machine&, int workers) {
  const Dims& dims = problem.outputs.at(0).dims;
  const int64_t m = dims[dims.size() - 2];
  std::vector<Tactic> out{
      {{"rows", std::max<int64_t>(default_rows(batches_of(problem), m, workers), 1)}}};
  for (int64_t rows : {m, (m + 1) / 2, (m + 3) / 4, int64_t{96}}) {
    const Tactic tactic{{"rows", std::clamp<int64_t>(rows, 1, std::max<int64_t>(m, 1))}};
    if (std::find(out.begin(), out.end(), tactic) == out.end()) out.push_back(tactic);
  }
  return out;
}

Launch attention_bind(const BoundProblem& problem, const Tactic& tactic, int workers, int width,
                      int block) {
  const BoundOperand &q = problem.inputs.at(0), &k = problem.inputs.at(1),
                     &v = problem.inputs.at(2);
  const size_t rank = q.dims.size();
  AttentionState state{};
  std::vector<Dims> strides;
  for (const auto* list : {&problem.inputs, &problem.outputs})
    for (const BoundOperand& o : *list) {
      const bool walks = o.dims.size() == rank;
      state.row[strides.size()] = walks ? o.strides[rank - 2] : 0;
      state.col[strides.size()] = walks ? o.strides[rank - 1] : 0;
      strides.push_back(walks ? Dims(o.strides.begin(), o.strides.end() - 2) : Dims(rank - 2, 0));
    }
  state.batch = make_rows(Dims(q.dims.begin(), q.dims.end() - 2), strides);
  state.inputs = static_cast<int64_t>(problem.inputs.size());
  state.outputs = static_cast<int64_t>(problem.outputs.size());
  state.first = problem.problem->epilogue_inputs;
  state.has_mask = problem.problem->integer("has_mask", 0);
  state.scale = static_cast<float>(problem.problem->number("scale", 1));
  state.m = q.dims[rank - 2];
  state.d = q.dims[rank - 1];
  state.t = k.dims[rank - 2];
  state.dv = v.dims[rank - 1];
  std::vector<TileStrides> operands;
  for (int64_t i = 0; i + 1 < problem.problem->epilogue.inputs; ++i)
    operands.push_back({state.row[state.first + i], state.col[state.first + i]});
  state.epilogue = compile_epilogue(problem.problem->epilogue, operands);

  const auto found = tactic.find("rows");
  const int64_t wanted =
      found != tactic.end() ? found->second : default_rows(state.batch.rows, state.m, workers);
  const int64_t rows = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(state.m, 1));
  // Whole register tiles, so that the rest is left once per batch index and not once per task.
  state.rows_per_task = std::max<int64_t>((rows + block - 1) / block * block, block);
  state.tasks_per_batch = (state.m + state.rows_per_task - 1) / state.rows_per_task;

  const auto round_up = [](int64_t n, int64_t to) { return (n + to - 1) / to * to; };
  constexpr int64_t kLine = 16, kPage = 1024;
  state.score_ld = round_up(std::max<int64_t>(state.t, 1), std::max<int64_t>(width, kLine));
  // Rows a page apart would share their cache sets.
  if (state.score_ld % kPage == 0) state.score_ld += kLine;
  state.value_ld = round_up(std::max<int64_t>(state.dv, 1), std::max<int64_t>(width, kLine));
  int64_t at = 0;
  const auto take = [&](int64_t floats) {
    const int64_t start = at;
    at += round_up(floats, kLine);
    return start;
  };
  state.k_at = take(state.score_ld * state.d);
  state.v_at = take(state.t * state.value_ld);
  state.q_at = take(block * state.d);
  state.score_at = take(block * state.score_ld);
  state.result_at = take(block * state.value_ld);
  state.epilogue_at = take(epilogue_scratch(state.epilogue, block * state.value_ld));
  Launch launch;
  launch.tasks = state.dv == 0 ? 0 : state.batch.rows * state.tasks_per_batch;
  launch.scratch_bytes = static_cast<size_t>(at) * sizeof(float);
  append_state(launch.state, state);
  return launch;
}

extern const KernelFamily attention_family{"attention", nullptr,   reference, samples,
                                           flop,        tolerance, bench};

}  // namespace vitrail
