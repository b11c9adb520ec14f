// SPDX-License-Identifier: Apache-2.0
// The reduce kernel, compiled once per ISA.
#pragma once
#include "kernels/reduce/family.h"
#include "kernels/rows_body.h"

namespace vitrail {
namespace {

// How a term joins, and how partial results do.
struct SumTerms {
  static Vec start() { return Vec::zero(); }
  static Vec term(Vec sum, Vec x) { return sum + x; }
  static Vec join(Vec a, Vec b) { return a + b; }
};
struct SquareTerms {
  static Vec start() { return Vec::zero(); }
  static Vec term(Vec sum, Vec x) { return fma(x, x, sum); }
  static Vec join(Vec a, Vec b) { return a + b; }
};
struct MaxTerms {
  static Vec start() { return Vec::all(-__builtin_inff()); }
  static Vec term(Vec a, Vec x) { return max(a, x); }
  static Vec join(Vec a, Vec b) { return max(a, b); }
};
struct MinTerms {
  static Vec start() { return Vec::all(__builtin_inff()); }
  static Vec term(Vec a, Vec x) { return min(a, x); }
  static Vec join(Vec a, Vec b) { return min(a, b); }
};
struct ProductTerms {
  static Vec start() { return Vec::all(1.0f); }
  static Vec term(Vec a, Vec x) { return a * x; }
  static Vec join(Vec a, Vec b) { return a * b; }
};

constexpr int64_t kRun = 256;  // terms of a lane before their result joins the total

/// Calls action(first term, count, distance) for the runs of the reduced axes.
template <typename Action>
inline void for_runs(const RowLoop& terms, const float* x, Action action) {
  for_segments(terms, 0, terms.rows, terms.rows,
               [&](int64_t, int64_t count, const int64_t* offsets) {
                 action(x + offsets[0], count, terms.step(0));
               });
}

/// kVectors vectors of neighbouring columns, the last of `lanes`; `to` has room for whole vectors.
template <typename Op, int kVectors>
inline void reduce_columns(const RowLoop& terms, const float* x, int lanes, float* to) {
  constexpr int kW = Vec::kWidth;
  Vec total[kVectors], run[kVectors];
  for (int v = 0; v < kVectors; ++v) total[v] = run[v] = Op::start();
  int64_t open = 0;
  for_runs(terms, x, [&](const float* at, int64_t count, int64_t step) {
    for (int64_t i = 0; i < count; ++i, at += step) {
      for (int v = 0; v < kVectors; ++v)
        run[v] = Op::term(
            run[v], v + 1 < kVectors ? Vec::load(at + v * kW) : load_upto(at + v * kW, lanes));
      if (++open < kRun) continue;
      for (int v = 0; v < kVectors; ++v) {
        total[v] = Op::join(total[v], run[v]);
        run[v] = Op::start();
      }
      open = 0;
    }
  });
  for (int v = 0; v < kVectors; ++v) Op::join(total[v], run[v]).store(to + v * kW);
}

/// One column, vectors along the reduced axes.
template <typename Op>
inline float reduce_terms(const RowLoop& terms, const float* x) {
  constexpr int kW = Vec::kWidth;
  constexpr int kVectors = 4;  // sums in flight, for the latency of an addition
  Vec total = Op::start();
  alignas(64) float lanes[kW];
  for_runs(terms, x, [&](const float* at, int64_t count, int64_t step) {
    const auto load = [&](int64_t j, int n) {
      return step == 1 ? load_upto(at + j, n) : load_strided(at + j * step, step, n);
    };
    for (int64_t begin = 0; begin < count; begin += kRun * kVectors * kW) {
      const int64_t end =
          begin + kRun * kVectors * kW < count ? begin + kRun * kVectors * kW : count;
      Vec run[kVectors];
      for (int v = 0; v < kVectors; ++v) run[v] = Op::start();
      int64_t j = begin;
      for (; j + kVectors * kW <= end; j += kVectors * kW)
        for (int v = 0; v < kVectors; ++v) run[v] = Op::term(run[v], load(j + v * kW, kW));
      for (; j + kW <= end; j += kW) run[0] = Op::term(run[0], load(j, kW));
      if (j < end) {
        // The lanes of the tail; the others keep the value that changes nothing.
        const int rest = static_cast<int>(end - j);
        Op::start().store(lanes);
        Op::term(Op::start(), load(j, rest)).store_first(lanes, rest);
        run[1] = Op::join(run[1], Vec::load(lanes));
      }
      total = Op::join(total, Op::join(Op::join(run[0], run[1]), Op::join(run[2], run[3])));
    }
  });
  return fold(total, [](Vec a, Vec b) { return Op::join(a, b); });
}

template <typename Op>
void reduce_task(const ReduceState& s, const KernelArgs& args, int64_t task, float* scratch) {
  constexpr int kW = Vec::kWidth;
  const RowState& rows = s.rows;
  const auto* x = static_cast<const float*>(args.inputs[0]);
  const int64_t all = rows.loop.rows * s.col_tasks, begin = task * rows.rows_per_task;
  const int64_t end = begin + rows.rows_per_task < all ? begin + rows.rows_per_task : all;
  int64_t offsets[RowLoop::kMaxOperands];
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t first = unit % s.col_tasks * s.chunk;
    locate(rows.loop, unit / s.col_tasks, offsets);
    const int64_t cols = rows.cols - first < s.chunk ? rows.cols - first : s.chunk;
    const float* from = x + offsets[0] + first * rows.col[0];
    if (s.by_column != 0) {
      int64_t j = 0;
      for (; cols - j >= 4 * kW; j += 4 * kW)
        reduce_columns<Op, 4>(s.terms, from + j, kW, scratch + j);
      for (; j < cols; j += kW)
        reduce_columns<Op, 1>(s.terms, from + j, static_cast<int>(cols - j), scratch + j);
    } else {
      for (int64_t j = 0; j < cols; ++j)
        scratch[j] = reduce_terms<Op>(s.terms, from + j * rows.col[0]);
    }
    if (s.op == ReduceOp::mean || s.op == ReduceOp::l2)
      for (int64_t j = 0; j < cols; j += kW) {
        const int lanes = static_cast<int>(cols - j);
        const Vec v = load_upto(scratch + j, lanes);
        store_upto(scratch + j, s.op == ReduceOp::l2 ? sqrt(v) : v * Vec::all(s.inverse_count),
                   lanes);
      }
    finish_rows(rows, args, offsets, first, scratch, rows.ld, 1, cols, scratch + rows.ld);
  }
}

void reduce_run(const BoundProblem&, const Launch& launch, const KernelArgs& args, int64_t task,
                void* scratch, void*) noexcept {
  const auto& s = state_of<ReduceState>(launch);
  auto* memory = static_cast<float*>(scratch);
  switch (s.op) {
    case ReduceOp::sum:
    case ReduceOp::mean:
      return reduce_task<SumTerms>(s, args, task, memory);
    case ReduceOp::l2:
    case ReduceOp::sumsq:
      return reduce_task<SquareTerms>(s, args, task, memory);
    case ReduceOp::max:
      return reduce_task<MaxTerms>(s, args, task, memory);
    case ReduceOp::min:
      return reduce_task<MinTerms>(s, args, task, memory);
    case ReduceOp::prod:
      return reduce_task<ProductTerms>(s, args, task, memory);
  }
}

}  // namespace
}  // namespace vitrail
