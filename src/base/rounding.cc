// SPDX-License-Identifier: Apache-2.0
#include "vitrail/rounding.h"

#include <bit>
#include <cmath>

#include "base/error.h"
#include "base/tensor.h"

namespace vitrail {
namespace {

// Keeps the upper bits of a float32: a narrow type with float32's exponents.
template <int kDropped>
float keep_upper(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) >= 0x7F800000u) return value;
  constexpr uint32_t kHalf = (1u << (kDropped - 1)) - 1, kMask = ~((1u << kDropped) - 1);
  return std::bit_cast<float>((bits + kHalf + ((bits >> kDropped) & 1u)) & kMask);
}
float narrow(float value, Rounding rounding) {
  switch (rounding) {
    case Rounding::tf32:
      return keep_upper<13>(value);
    case Rounding::bf16:
      return keep_upper<16>(value);
    case Rounding::f16:
      return f16_to_float(float_to_f16(value));
    case Rounding::none:
      break;
  }
  return value;
}

// Not by way of float32: two roundings are not one.
double narrow(double value, Rounding rounding) {
  if (rounding == Rounding::none || !std::isfinite(value) || value == 0) return value;
  const int bits = rounding == Rounding::bf16 ? 8 : 11,
            least = rounding == Rounding::f16 ? -14 : -126,
            most = rounding == Rounding::f16 ? 15 : 127;
  const int unit = std::max(std::ilogb(value), least) - (bits - 1);
  const double out = std::ldexp(std::nearbyint(std::ldexp(value, -unit)), unit);
  return std::ilogb(out) > most ? std::copysign(HUGE_VAL, value) : out;
}

}  // namespace

const char* name_of(Rounding rounding) {
  switch (rounding) {
    case Rounding::tf32:
      return "tf32";
    case Rounding::f16:
      return "f16";
    case Rounding::bf16:
      return "bf16";
    case Rounding::none:
      break;
  }
  return "none";
}

Tensor rounded(const Tensor& tensor, Rounding rounding) {
  const bool wide = tensor.dtype() == DType::f32 || tensor.dtype() == DType::f64;
  if (!wide || rounding == Rounding::none) return tensor;
  Tensor out(tensor.dtype(), tensor.dims());
  with_float_type(tensor.dtype(), "rounding", [&](auto tag) {
    using T = decltype(tag);
    const T* from = tensor.data<T>();
    T* to = out.mutable_data<T>();
    for (int64_t i = 0; i < tensor.size(); ++i) to[i] = narrow(from[i], rounding);
  });
  return out;
}

}  // namespace vitrail
