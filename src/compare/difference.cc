// SPDX-License-Identifier: Apache-2.0
#include "compare/difference.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace vitrail {

namespace {
Difference::Spread spread(std::vector<double>& values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  double sum = 0;
  for (double v : values) sum += v;
  const auto at = [&](double q) { return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))]; };
  return {values.front(), sum / static_cast<double>(values.size()), at(0.5), at(0.99), values.back()};
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
    const double d = equal ? 0 : std::fabs(x - y);
    const double r = d == 0 ? 0 : y == 0 ? std::numeric_limits<double>::infinity() : d / std::fabs(y);
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

Tensor random_uniform(DType dtype, const Dims& dims, uint64_t seed, double low, double high) {
  Tensor wide(DType::f64, dims);
  double* to = wide.mutable_data<double>();
  // splitmix64 (Steele, Lea and Flood 2014): one step an element, so that it needs no state.
  for (int64_t i = 0; i < wide.size(); ++i) {
    uint64_t z = seed * 0xD1B54A32D192ED03ull + static_cast<uint64_t>(i + 1) * 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    z ^= z >> 31;
    to[i] = low + (high - low) * static_cast<double>(z >> 11) * 0x1p-53;
  }
  return wide.cast(dtype);
}

}  // namespace vitrail
