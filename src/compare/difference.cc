// SPDX-License-Identifier: Apache-2.0
#include "compare/difference.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace vitrail {

namespace {
// Sorting alone would cost more than a plan's run.
Difference::Spread spread(std::vector<double>& values) {
  if (values.empty()) return {};
  double sum = 0;
  for (double v : values) sum += v;
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  Difference::Spread out{
      .min = *least, .mean = sum / static_cast<double>(values.size()), .max = *most};
  const auto at = [&](double q) {
    const auto nth =
        values.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1));
    std::nth_element(values.begin(), nth, values.end());
    return *nth;
  };
  out.median = at(0.5);
  out.p99 = at(0.99);
  return out;
}

double top1(const Tensor& a, const Tensor& b) {
  const int64_t width = a.rank() ? a.dims().back() : 1;
  if (width <= 0) return 1;
  const int64_t rows = a.size() / width;
  int64_t same = 0;
  const auto largest = [&](const Tensor& t, int64_t row) {
    int64_t best = 0;
    for (int64_t i = 1; i < width; ++i)
      if (t.number_at(row * width + i) > t.number_at(row * width + best)) best = i;
    return best;
  };
  for (int64_t r = 0; r < rows; ++r) same += largest(a, r) == largest(b, r);
  return rows ? static_cast<double>(same) / static_cast<double>(rows) : 1;
}
}  // namespace

Difference compare(const Tensor& a, const Tensor& b, double atol, double rtol) {
  Difference out;
  out.same_shape = a.dims() == b.dims();
  if (!out.same_shape && a.size() != b.size()) {
    out.outside = std::max(a.size(), b.size());
    return out;
  }
  std::vector<double> abs, rel;
  abs.reserve(static_cast<size_t>(a.size()));
  rel.reserve(static_cast<size_t>(a.size()));
  double aa = 0, bb = 0, ab = 0, noise = 0;
  for (int64_t i = 0; i < a.size(); ++i) {
    const double x = a.number_at(i), y = b.number_at(i);
    const bool equal = x == y || (std::isnan(x) && std::isnan(y));
    double d = equal ? 0 : std::fabs(x - y);
    if (std::isnan(d)) d = std::numeric_limits<double>::infinity();  // a NaN has no order
    const double r = d == 0   ? 0
                     : y == 0 ? std::numeric_limits<double>::infinity()
                              : d / std::fabs(y);
    abs.push_back(d);
    rel.push_back(r);
    if (!(d <= atol) && !(r <= rtol)) ++out.outside;
    aa += x * x, bb += y * y, ab += x * y, noise += d * d;
  }
  out.abs = spread(abs);
  out.rel = spread(rel);
  out.cosine = aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : (aa == bb ? 1 : 0);
  out.sqnr_db = noise > 0 ? 10 * std::log10(bb / noise) : std::numeric_limits<double>::infinity();
  out.top1 = top1(a, b);
  return out;
}

double relative_l2(const Difference& d) { return std::pow(10, -d.sqnr_db / 20); }

Tensor random_tensor(DType dtype, const Dims& dims, uint64_t seed, double low, double high) {
  Tensor wide(DType::f64, dims);
  double* to = wide.mutable_data<double>();
  const uint64_t start = seed * 0xD1B54A32D192ED03ull;
  for (int64_t i = 0; i < wide.size(); ++i)
    to[i] = low + (high - low) * static_cast<double>(splitmix64(start, i) >> 11) * 0x1p-53;
  return wide.cast(dtype);
}

}  // namespace vitrail
