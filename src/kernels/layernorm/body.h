// SPDX-License-Identifier: Apache-2.0
// The layernorm kernel, compiled once per ISA.
#pragma once
#include <math.h>

#include "kernels/layernorm/family.h"
#include "kernels/rows_body.h"

namespace vitrail {
namespace {

/// Calls action(vector of x at j, lanes) over a row; lanes is kWidth but for the tail.
template <typename Action>
inline void for_vectors(int64_t c, Action action) {
  constexpr int kW = Vec::kWidth;
  int64_t j = 0;
  for (; j + kW <= c; j += kW) action(j, kW);
  if (j < c) action(j, static_cast<int>(c - j));
}

inline void layernorm_row(const float* x, const float* scale, const float* bias,
                          const LayernormState& state, float* to) {
  constexpr int kW = Vec::kWidth;
  const int64_t c = state.rows.cols, whole = c / kW * kW;
  const int rest = static_cast<int>(c - whole);
  Vec sums[2] = {Vec::zero(), Vec::zero()};
  int64_t j = 0;
  for (; j + 2 * kW <= c; j += 2 * kW) {
    sums[0] = sums[0] + Vec::load(x + j);
    sums[1] = sums[1] + Vec::load(x + j + kW);
  }
  if (j < whole) sums[0] = sums[0] + Vec::load(x + j);
  if (rest != 0) sums[1] = sums[1] + Vec::load_first(x + whole, rest);
  const float mean = sum_of(sums[0] + sums[1]) * state.inverse_count;
  const Vec centre = Vec::all(mean);
  Vec squares[2] = {Vec::zero(), Vec::zero()};
  for (j = 0; j + 2 * kW <= c; j += 2 * kW)
    for (int k = 0; k < 2; ++k) {
      const Vec d = Vec::load(x + j + k * kW) - centre;
      squares[k] = fma(d, d, squares[k]);
    }
  if (j < whole) {
    const Vec d = Vec::load(x + j) - centre;
    squares[0] = fma(d, d, squares[0]);
  }
  if (rest != 0) {
    // Lanes beyond the row hold -mean, which is not part of it.
    const Vec d = (Vec::load_first(x + whole, rest) - centre) * first_lanes(rest);
    squares[1] = fma(d, d, squares[1]);
  }
  const float variance = sum_of(squares[0] + squares[1]) * state.inverse_count;
  const Vec inverse = Vec::all(1.0f / ::sqrtf(variance + state.eps));
  for_vectors(c, [&](int64_t at, int n) {
    Vec v = (load_upto(x + at, n) - centre) * inverse;
    if (scale != nullptr) v = v * load_upto(scale + at, n);
    if (bias != nullptr) v = v + load_upto(bias + at, n);
    store_upto(to + at, v, n);
  });
}

void layernorm_run(const BoundProblem&, const Launch& launch, const KernelArgs& args, int64_t task,
                   void* scratch, void*) noexcept {
  const auto& state = state_of<LayernormState>(launch);
  const auto* scale =
      state.scale < 0 ? nullptr : static_cast<const float*>(args.inputs[state.scale]);
  const auto* bias = state.bias < 0 ? nullptr : static_cast<const float*>(args.inputs[state.bias]);
  run_rows(state.rows, args, task, static_cast<float*>(scratch),
           [&](const float* x, float* to) { layernorm_row(x, scale, bias, state, to); });
}

}  // namespace
}  // namespace vitrail
