// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/bind.h"

#include <algorithm>

#include "base/error.h"
#include "base/round.h"
#include "kernels/gemm/family.h"
#include "kernels/reference.h"

namespace vitrail {
namespace {

/// One extent with the strides of everything that moves along it.
struct Axis {
  int64_t extent = 1;
  std::vector<int64_t> strides;  // A, B, epilogue operands, outputs

  /// True when this axis, outside `inner`, continues it in every operand.
  bool continues(const Axis& inner) const {
    for (size_t i = 0; i < strides.size(); ++i)
      if (strides[i] != inner.extent * inner.strides[i]) return false;
    return true;
  }
};

/// Extents outside the matrices and the rows' own, as few as possible; the last is the rows.
std::vector<Axis> merged_axes(const BoundProblem& problem, bool shared_b) {
  const size_t rank = problem.outputs[0].dims.size();
  const auto first = static_cast<size_t>(problem.problem->epilogue_inputs);
  std::vector<Axis> axes;
  for (size_t d = 0; d + 1 < rank; ++d) {
    Axis axis{problem.outputs[0].dims[d], {problem.inputs[0].strides[d]}};
    const bool rows = d + 2 == rank;
    axis.strides.push_back(shared_b || rows ? 0 : problem.inputs[1].strides[d]);
    for (size_t i = first; i < problem.inputs.size(); ++i)
      axis.strides.push_back(problem.inputs[i].strides[d]);
    for (const BoundOperand& out : problem.outputs) axis.strides.push_back(out.strides[d]);
    if (axis.extent == 1) continue;
    if (!axes.empty() && axes.back().continues(axis)) {
      axis.extent *= axes.back().extent;
      axes.pop_back();
    }
    axes.push_back(std::move(axis));
  }
  // The last axis can be the rows only if B does not move along it.
  if (axes.empty() || axes.back().strides[1] != 0)
    axes.push_back({1, std::vector<int64_t>(
                           1 + 1 + problem.inputs.size() - first + problem.outputs.size(), 0)});
  return axes;
}

}  // namespace

int64_t matrix_tile_floats(const EpilogueCode& epilogue) {
  constexpr int64_t kTile = 6 * 64;  // the largest block of registers, micro.h
  return kTile + epilogue_scratch(epilogue, kTile);
}

int64_t even_count(int64_t count, int64_t others, int workers) {
  if (count * others <= 1) return std::max<int64_t>(count, 1);
  return ceil_div(round_up(count * others, workers), others);
}

Blocks choose_blocks(int64_t m, int64_t n, int64_t k, int64_t batch, const Tactic& tactic,
                     const Machine& machine, int workers) {
  const auto asked = [&](const char* key) {
    const auto found = tactic.find(key);
    return found == tactic.end() ? int64_t{0} : std::max<int64_t>(found->second, 1);
  };
  Blocks out{};
  if (out.cols = asked("cols"); out.cols == 0) {
    const int64_t fit = machine.l2_bytes / 2 / (std::max<int64_t>(k, 1) * 4);
    const int64_t most = std::max<int64_t>(fit / 64 * 64, 64);
    out.cols = ceil_div(n, std::max<int64_t>(ceil_div(n, most), 1));
  }
  out.cols = std::min(round_up(out.cols, kGemmPanel), round_up(n, kGemmPanel));
  if (out.rows = asked("rows"); out.rows == 0) {
    // Four tasks a worker even out what else runs on the machine; below some 4 MFLOP (20
    // microseconds) a task is not worth its start. Alone, rows are cut only to keep tasks short.
    constexpr double kLeast = 4e6, kMost = 64e6;
    const double work = 2.0 * static_cast<double>(k) * static_cast<double>(out.cols);
    const int64_t least = std::max<int64_t>(12, static_cast<int64_t>(kLeast / std::max(work, 1.0)));
    const int64_t most = std::max<int64_t>(12, static_cast<int64_t>(kMost / std::max(work, 1.0)));
    const int64_t others = std::max<int64_t>(1, batch * ceil_div(n, out.cols));
    const int64_t wanted = workers == 1 ? 1 : ceil_div(4 * workers, others);
    out.rows = std::min(std::max(ceil_div(m, wanted), least), most);
    out.rows = ceil_div(m, even_count(ceil_div(m, out.rows), others, workers));
  }
  out.rows = std::clamp<int64_t>(out.rows, 1, std::max<int64_t>(m, 1));
  return out;
}

Refusal gemm_accepts(const Problem& p) {
  if (p.inputs.size() < 2 || p.outputs.empty()) return "gemm needs A, B and an output";
  if (is_normalized(p))
    return "it does not normalize rows of A: on the CPU that is a step of its own";
  if (p.epilogue_inputs < 2) return "epilogue operands start at input 2";
  if (Refusal why = check_epilogue(p); !why.empty()) return why;
  if (Refusal why = check_epilogue_size(p.epilogue); !why.empty()) return why;
  const Operand &a = p.inputs[0], &b = p.inputs[1];
  const Shape& out = p.outputs[0].dims;
  const size_t rank = out.size();
  if (rank < 2 || rank > 2 + GemmState::kMaxBatchAxes)
    return fmt::format("rank {} outside 2 to 6", rank);
  if (a.dtype != DType::f32 || b.dtype != DType::f32)
    return fmt::format("A is {} and B is {}, both must be f32", name_of(a.dtype), name_of(b.dtype));
  if (a.constant) return "A is a constant";
  if (a.dims.size() != rank)
    return fmt::format("A is {}, the output {}", to_string(a.dims), to_string(out));
  const Expr& k = a.dims[rank - 1];
  if (!a.strides[rank - 1].is(1) && !k.is(1))
    return fmt::format("A's k stride is {}, not 1", a.strides[rank - 1].str());
  for (size_t d = 0; d + 1 < rank; ++d)
    if (a.dims[d] != out[d])
      return fmt::format("A is {}, the output {}", to_string(a.dims), to_string(out));
  if (b.constant) {
    if (b.dims.size() != 2 || !is_static(b.dims))
      return fmt::format("constant B is {}, not [k, n]", to_string(b.dims));
  } else {
    if (b.dims.size() != rank)
      return fmt::format("B is {}, the output {}", to_string(b.dims), to_string(out));
    for (size_t d = 0; d + 2 < rank; ++d)
      if (b.dims[d] != out[d])
        return fmt::format("B is {}, the output {}", to_string(b.dims), to_string(out));
  }
  const size_t b_rank = b.dims.size();
  if (b.dims[b_rank - 2] != k || b.dims[b_rank - 1] != out[rank - 1])
    return fmt::format("B is {} for A {} and output {}", to_string(b.dims), to_string(a.dims),
                       to_string(out));
  return {};
}

std::vector<Tactic> gemm_tactics(const BoundProblem& problem, const Machine& machine, int workers) {
  const std::vector<Axis> axes = merged_axes(problem, problem.inputs[1].constant);
  int64_t batch = 1;
  for (size_t i = 0; i + 1 < axes.size(); ++i) batch *= axes[i].extent;
  const int64_t m = axes.back().extent, k = problem.inputs[0].dims.back(),
                n = problem.outputs[0].dims.back();
  const Blocks own = choose_blocks(m, n, k, batch, {}, machine, workers);
  std::vector<Tactic> out = {{}};
  const auto add = [&](int64_t rows, int64_t cols) {
    cols = std::min(round_up(std::max<int64_t>(cols, 1), kGemmPanel), round_up(n, kGemmPanel));
    rows = std::clamp<int64_t>(rows, 1, m);
    Tactic tactic{{"rows", rows}, {"cols", cols}};
    if ((rows != own.rows || cols != own.cols) &&
        std::find(out.begin(), out.end(), tactic) == out.end())
      out.push_back(std::move(tactic));
  };
  if (m == 0 || n == 0) return out;
  add(own.rows, own.cols / 2);
  add(own.rows, own.cols * 2);
  add(ceil_div(own.rows, 2), own.cols);
  add(own.rows * 2, own.cols);
  return out;
}

Launch gemm_bind(const BoundProblem& problem, const Tactic& tactic, const Machine& machine,
                 int workers) {
  const BoundOperand &a = problem.inputs[0], &b = problem.inputs[1];
  const auto first = static_cast<size_t>(problem.problem->epilogue_inputs);
  const std::vector<Axis> axes = merged_axes(problem, b.constant);
  const Axis& rows = axes.back();
  GemmState s{};
  s.m = rows.extent;
  s.n = problem.outputs[0].dims.back();
  s.k = a.dims.back();
  s.epilogue_inputs = static_cast<int64_t>(first);
  s.batch_axes = static_cast<int64_t>(axes.size()) - 1;
  const size_t operands = static_cast<size_t>(problem.problem->epilogue.inputs - 1);
  int64_t batch = 1;
  for (size_t i = 0; i + 1 < axes.size(); ++i) {
    s.batch[i] = axes[i].extent;
    batch *= axes[i].extent;
    s.a_batch[i] = axes[i].strides[0];
    s.b_batch[i] = axes[i].strides[1];
    for (size_t o = 0; o < operands; ++o) s.operand_batch[o][i] = axes[i].strides[2 + o];
    for (size_t o = 0; o < problem.outputs.size(); ++o)
      s.output_batch[o][i] = axes[i].strides[axes[i].strides.size() - problem.outputs.size() + o];
  }
  s.a_row = rows.strides[0];
  for (size_t o = 0; o < operands; ++o)
    s.operand[o] = {rows.strides[2 + o], problem.inputs[first + o].strides.back()};
  for (size_t o = 0; o < problem.outputs.size(); ++o)
    s.output[o] = {rows.strides[rows.strides.size() - problem.outputs.size() + o],
                   problem.outputs[o].strides.back()};
  s.packed_b = b.constant;
  if (!b.constant) {
    s.b_row = b.strides[b.strides.size() - 2];
    s.b_col = b.strides.back();
  }
  const int64_t chunks = ceil_div(s.k, kGemmChunk);
  if (chunks > 0) {
    s.length = ceil_div(s.k, chunks);
    s.segments = ceil_div(s.k, s.length);
    s.last = s.k - (s.segments - 1) * s.length;
  }
  s.flush = 1;
  s.epilogue = compile_epilogue(problem.problem->epilogue, {s.operand, operands});
  const Blocks blocks = choose_blocks(s.m, s.n, s.k, batch, tactic, machine, workers);
  s.block_cols = blocks.cols;
  s.row_blocks = ceil_div(s.m, blocks.rows);
  s.col_blocks = s.n == 0 ? 0 : ceil_div(s.n, blocks.cols);
  s.tile_floats = round_up(matrix_tile_floats(s.epilogue), 16);

  Launch launch;
  launch.tasks = batch * s.row_blocks * s.col_blocks;
  const int64_t packed = b.constant ? 0 : blocks.cols * s.k;
  launch.scratch_bytes = static_cast<size_t>(s.tile_floats + packed) * sizeof(float);
  append_state(launch.state, s);
  for (int64_t i = 0; i < s.segments; ++i) launch.state.push_back(i * s.length);
  return launch;
}

}  // namespace vitrail
