// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

#include "base/expr.h"
#include "vitrail/tensor.h"

namespace vitrail {

/// Extents as expressions over the graph's symbols.
using Shape = std::vector<Expr>;

/// Product of the extents; throws Error(bad_input) on a negative extent or an overflow.
int64_t element_count(const Dims& dims);
Expr element_count(const Shape& shape);
/// Strides in elements of a dense row-major tensor.
Dims row_major(const Dims& dims);
Shape row_major(const Shape& shape);

bool is_static(const Shape& shape);
/// The constant extents of a static shape; throws Error(internal) for another.
Dims to_dims(const Shape& shape);
Shape to_shape(const Dims& dims);
Dims eval(const Shape& shape, const Bindings& bindings);

/// "[1,3,224,224]" / "[N,3,8*floordiv(H,8),W]"
std::string to_string(const Dims& dims);
std::string to_string(const Shape& shape);

/// Numpy's broadcast of two extents lists; throws Error(bad_input) naming both shapes. A symbolic
/// extent against an unequal one: the constant other than 1 wins; two unequal symbols are an error
/// unless `assume_equal` collects the pair as an equality to be guarded.
struct Equality {
  Expr a, b;
};
Shape broadcast(const Shape& a, const Shape& b, std::vector<Equality>* assume_equal = nullptr);
Dims broadcast(const Dims& a, const Dims& b);

/// axis counted from the end when negative; throws Error(bad_input) naming `what` when outside
/// rank.
int64_t normalize_axis(int64_t axis, size_t rank, const char* what);

}  // namespace vitrail
