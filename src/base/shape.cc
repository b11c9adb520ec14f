// SPDX-License-Identifier: Apache-2.0
#include "base/shape.h"

#include <algorithm>

#include "base/error.h"

namespace vitrail {

int64_t element_count(const Dims& dims) {
  int64_t count = 1;
  bool zero = false;
  for (int64_t d : dims) {
    require(d >= 0, Code::bad_input, "shape {} has a negative extent", to_string(dims));
    zero |= d == 0;
    // Zero extents must not hide an overflow of the others (strides are computed from them).
    count = checked_mul(count, std::max<int64_t>(d, 1));
  }
  return zero ? 0 : count;
}
Expr element_count(const Shape& shape) {
  Expr count = 1;
  for (const Expr& d : shape) count *= d;
  return count;
}

namespace {
template <typename List>
List row_major_of(const List& extents) {
  List strides(extents.size(), 1);
  for (size_t i = extents.size(); i-- > 1;) strides[i - 1] = strides[i] * extents[i];
  return strides;
}
template <typename List, typename Text>
std::string join(const List& list, Text text) {
  std::string out = "[";
  for (size_t i = 0; i < list.size(); ++i) out += (i ? "," : "") + text(list[i]);
  return out + "]";
}
}  // namespace

Dims row_major(const Dims& dims) {
  element_count(dims);
  return row_major_of(dims);
}
Shape row_major(const Shape& shape) { return row_major_of(shape); }

bool is_static(const Shape& shape) {
  return std::all_of(shape.begin(), shape.end(), [](const Expr& d) { return d.is_constant(); });
}
Dims to_dims(const Shape& shape) {
  Dims out;
  for (const Expr& d : shape) out.push_back(d.constant());
  return out;
}
Shape to_shape(const Dims& dims) { return Shape(dims.begin(), dims.end()); }
Dims eval(const Shape& shape, const Bindings& bindings) {
  Dims out;
  for (const Expr& d : shape) out.push_back(d.eval(bindings));
  return out;
}

std::string to_string(const Dims& dims) {
  return join(dims, [](int64_t d) { return std::to_string(d); });
}
std::string to_string(const Shape& shape) {
  return join(shape, [](const Expr& d) { return d.str(); });
}

Shape broadcast(const Shape& a, const Shape& b, std::vector<Equality>* assume_equal) {
  const size_t rank = std::max(a.size(), b.size());
  Shape out(rank);
  for (size_t i = 0; i < rank; ++i) {
    const Expr x = i < rank - a.size() ? Expr(1) : a[i - (rank - a.size())];
    const Expr y = i < rank - b.size() ? Expr(1) : b[i - (rank - b.size())];
    if (x == y || y.is(1)) {
      out[i] = x;
    } else if (x.is(1)) {
      out[i] = y;
    } else {
      const bool both_constant = x.is_constant() && y.is_constant();
      require(!both_constant && (assume_equal || x.is_constant() || y.is_constant()),
              Code::bad_input, "shapes {} and {} do not broadcast: extents {} and {} differ",
              to_string(a), to_string(b), x.str(), y.str());
      out[i] = x.is_constant() ? x : y;
      if (assume_equal) assume_equal->push_back({x, y});
    }
  }
  return out;
}
Dims broadcast(const Dims& a, const Dims& b) {
  return to_dims(broadcast(to_shape(a), to_shape(b)));
}

int64_t normalize_axis(int64_t axis, size_t rank, const char* what) {
  const auto r = static_cast<int64_t>(rank);
  require(-r <= axis && axis < r, Code::bad_input, "{} {} is out of range for rank {}", what, axis,
          rank);
  return axis < 0 ? axis + r : axis;
}

}  // namespace vitrail
