// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "plan/plan.h"

namespace vitrail {

/// Checks everything a session relies on: indices, symbols declared before use, extents and windows
/// inside their buffers at min, opt and max, inputs and constants never written, arities. What only
/// the actual extents decide is checked again when a session binds; whether kernels and ops exist
/// is the executor's to say. Throws Error(bad_input) naming the first broken rule.
void validate(const Plan& plan);

/// First and last element a window touches, relative to its element 0; {0, -1} when it is empty.
/// Throws Error(bad_input) for a negative extent or an overflow.
struct Span {
  int64_t first = 0, last = -1;
};
Span span_of(const Dims& dims, const Dims& strides);

/// Adds every data symbol at its bound.
void add_data_bounds(const Plan& plan, Bindings& symbols);
/// All symbols at min, opt or max of the range, data symbols at their bounds.
Bindings symbols_at(const Plan& plan, int64_t PlanSymbol::*pick);

/// Whether the step's block has guards of its own.
bool has_guards(const Step& step, size_t block);
/// By value: only steps inside blocks with guards use it. Where the guards do not hold, its extents
/// may contradict those of its buffer.
std::vector<bool> guarded_values(const Plan& plan);

/// Steps in `block` with everything inside them.
int count_steps(const Block& block);

}  // namespace vitrail
