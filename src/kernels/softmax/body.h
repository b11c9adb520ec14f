// SPDX-License-Identifier: Apache-2.0
// The softmax kernel, compiled once per ISA.
#pragma once
#include "kernels/rows_body.h"
#include "kernels/softmax/family.h"

namespace vitrail {
namespace {

inline void softmax_row(const float* x, float* to, int64_t c) {
  constexpr int kW = Vec::kWidth;
  const int64_t whole = c / kW * kW;
  const int rest = static_cast<int>(c - whole);
  float most = x[0];
  if (whole > 0) {
    Vec top = Vec::load(x);
    for (int64_t j = kW; j < whole; j += kW) top = max_or_second(Vec::load(x + j), top);
    most = max_of(top);
  }
  for (int64_t j = whole; j < c; ++j) most = x[j] > most ? x[j] : most;
  const Vec shift = Vec::all(most);
  Vec sum = Vec::zero();
  for (int64_t j = 0; j < whole; j += kW) {
    const Vec e = exp(Vec::load(x + j) - shift);
    e.store(to + j);
    sum = sum + e;
  }
  if (rest != 0) {
    exp(Vec::load_first(x + whole, rest) - shift).store_first(to + whole, rest);
    sum = sum + Vec::load_first(to + whole, rest);
  }
  const Vec scale = Vec::all(1.0f / sum_of(sum));
  for (int64_t j = 0; j < whole; j += kW) (Vec::load(to + j) * scale).store(to + j);
  if (rest != 0) (Vec::load_first(to + whole, rest) * scale).store_first(to + whole, rest);
}

void softmax_run(const BoundProblem&, const Launch& launch, const KernelArgs& args, int64_t task,
                 void* scratch, void*) noexcept {
  const auto& state = state_of<RowState>(launch);
  run_rows(state, args, task, static_cast<float*>(scratch),
           [&](const float* x, float* to) { softmax_row(x, to, state.cols); });
}

}  // namespace
}  // namespace vitrail
