// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu/limits.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace vitrail {
namespace {

// Units of 2^-23 that intermediates rounded to the inputs' 16 bits add: attention's probabilities,
// times values of at most 1; an inverted block's hidden and windowed channels. Those deviate by
// about sqrt(c) / 3 (sqrt(c / 3) normalized) times sqrt(taps / 3); each errs by half a unit of
// itself, and e of them are summed with weights of deviation sqrt(1 / 3): four deviations of the
// sum, and half of that again for the first rounding. positional's values and what its first window
// makes of them deviate by sqrt(c) / 3 and sqrt(3) times that, and reach the result through
// windows: simulated with c = 8, 1.2 halves of a unit for all channels together. But they are not
// alike: a channel's windows have norms up to 1.4 times the mean, and its large values round
// coarser. The largest of the largest sample's 95200 errors is 8 halves in the median of 4000
// simulations, 10 in the 90th percentile, 15.3 at most, a Gumbel distribution of scale 0.98: 20 are
// exceeded once in 300000 trials, 11 (what was allowed before) three times in a hundred. A
// product's normalized rows deviate by 1 and are rounded before the products: each element errs by
// at most half a unit of itself, k of them are summed with weights of deviation sqrt(1 / 3), four
// deviations.
double rounded_inside(const BoundProblem& bound) {
  const DType type = bound.inputs[0].dtype;
  const double half = type == DType::f16 ? 4096 : type == DType::bf16 ? 32768 : 0;
  const std::string& family = bound.problem->family;
  if (family == "attention") return 1.5 * half;
  if (family == "gemm" && bound.problem->integer("normalize", 0))
    return half * 4 * std::sqrt(static_cast<double>(bound.inputs[0].dims.back()) / 3);
  if (family != "inverted" && family != "positional") return 0;
  const auto c = static_cast<double>(bound.inputs[0].dims[3]),
             e = static_cast<double>(bound.inputs[3].dims[0]);
  const auto taps = static_cast<double>(bound.inputs[3].dims[2] * bound.inputs[3].dims[3]);
  if (family == "positional") return half * 20 * std::max(1.0, std::sqrt(c / 9));
  const double hidden =
      std::max(1.0, std::sqrt(bound.problem->integer("normalize", 0) ? c / 3 : c / 9));
  return half * (6 * hidden * std::max(1.0, std::sqrt(taps / 3)) * std::sqrt(e / 3) + 8);
}

}  // namespace

bool aligned(const Problem& p) {
  return p.ints.contains("align_in0") || p.ints.contains("align_out0");
}

Problem in_storage(Problem p, DType type, Memory memory) {
  const auto convert = [&](std::vector<Operand>& list, const char* name) {
    for (size_t i = 0; i < list.size(); ++i) {
      const bool weight = list[i].constant && list[i].dims.size() >= 2;
      if (list[i].dtype == DType::f32 && (!list[i].constant || weight) && p.family != "depthwise")
        list[i].dtype = type;
      else if (list[i].dtype == DType::f32 && !list[i].constant)
        list[i].dtype = type;
      if (memory != Memory::plain) p.ints[fmt::format("align_{}{}", name, i)] = 16;
      Operand& o = list[i];
      constexpr int64_t kGrain = 8;
      if (memory != Memory::spare || o.constant || o.dims.size() < 2 ||
          !o.dims.back().is_constant() || o.dims.back().constant() < kGrain ||
          o.strides != row_major(o.dims))
        continue;
      const int64_t columns = o.dims.back().constant(),
                    wide = (columns + kGrain - 1) / kGrain * kGrain;
      Shape padded = o.dims;
      padded.back() = wide;
      o.strides = row_major(padded);
      p.ints[fmt::format("spare_{}{}", name, i)] = wide - columns;
    }
  };
  convert(p.inputs, "in");
  if (p.family != "gram") convert(p.outputs, "out");
  return p;
}

double allowed(const KernelFamily& family, const BoundProblem& bound, DType out) {
  const double half = out == DType::f16    ? 4096
                      : out == DType::bf16 ? 32768
                                           : 0;  // half a unit, in 2^-23, of 1..2
  // The tail's gelu for 16-bit results errs by a twentieth of a unit.
  return family.tolerance(bound) + half * 1.05 + rounded_inside(bound);
}

std::string compare(const Tensor& got, const Tensor& expected, double units) {
  if (!is_float(got.dtype())) return got.same(expected) ? "" : "differs from the reference";
  const Tensor wide = got.cast(DType::f64);
  double worst = 0;
  int64_t where = -1;
  for (int64_t i = 0; i < wide.size(); ++i) {
    const double a = wide.data<double>()[i], b = expected.data<double>()[i];
    if ((std::isnan(a) && std::isnan(b)) || a == b) continue;
    double error = std::fabs(a - b) / 0x1p-23 / std::max(1.0, std::fabs(b));
    if (std::isnan(error)) error = INFINITY;
    if (error > worst) worst = error, where = i;
  }
  if (worst <= units) return "";
  return fmt::format("element {} of {}: {}, expected {}; {:.1f} units of 2^-23, {:.1f} allowed",
                     where, to_string(got.dims()), wide.data<double>()[where],
                     expected.data<double>()[where], worst, units);
}

}  // namespace vitrail
