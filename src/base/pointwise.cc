// SPDX-License-Identifier: Apache-2.0
#include "base/pointwise.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/error.h"

namespace vitrail {
namespace {
constexpr const char* kNames[] = {
    "add",  "sub",   "mul",  "div",        "min",   "max",  "pow",       "neg",        "abs",
    "exp",  "log",   "sqrt", "reciprocal", "erf",   "tanh", "sigmoid",   "relu",       "floor",
    "ceil", "round", "sin",  "cos",        "swish", "gelu", "gelu_tanh", "leaky_relu", "constant"};
static_assert(std::size(kNames) == kPointwiseCount);
}  // namespace

const char* name_of(Pointwise op) { return kNames[static_cast<int>(op)]; }
Pointwise pointwise_from_name(std::string_view name) {
  for (int i = 0; i < kPointwiseCount; ++i)
    if (name == kNames[i]) return static_cast<Pointwise>(i);
  fail(Code::bad_input, "unknown pointwise instruction '{}'", printable(std::string(name)));
}
int arity_of(Pointwise op) {
  if (op == Pointwise::constant) return 0;
  return op <= Pointwise::pow ? 2 : 1;
}

double evaluate(Pointwise op, double a, double b, double imm) {
  switch (op) {
    case Pointwise::add:
      return a + b;
    case Pointwise::sub:
      return a - b;
    case Pointwise::mul:
      return a * b;
    case Pointwise::div:
      return a / b;
    // NaN in either operand gives NaN, as ONNX's Min and Max do.
    case Pointwise::min:
      return std::isnan(a) || std::isnan(b) ? NAN : std::min(a, b);
    case Pointwise::max:
      return std::isnan(a) || std::isnan(b) ? NAN : std::max(a, b);
    case Pointwise::pow:
      return std::pow(a, b);
    case Pointwise::neg:
      return -a;
    case Pointwise::abs:
      return std::fabs(a);
    case Pointwise::exp:
      return std::exp(a);
    case Pointwise::log:
      return std::log(a);
    case Pointwise::sqrt:
      return std::sqrt(a);
    case Pointwise::reciprocal:
      return 1 / a;
    case Pointwise::erf:
      return std::erf(a);
    case Pointwise::tanh:
      return std::tanh(a);
    case Pointwise::sigmoid:
      return 1 / (1 + std::exp(-a));
    case Pointwise::relu:
      return std::isnan(a) ? a : std::max(a, 0.0);
    case Pointwise::floor:
      return std::floor(a);
    case Pointwise::ceil:
      return std::ceil(a);
    case Pointwise::round:
      return std::nearbyint(a);
    case Pointwise::sin:
      return std::sin(a);
    case Pointwise::cos:
      return std::cos(a);
    case Pointwise::swish:
      return a / (1 + std::exp(-imm * a));
    case Pointwise::gelu:
      return 0.5 * a * (1 + std::erf(a * 0.70710678118654752440));
    case Pointwise::gelu_tanh:
      return 0.5 * a * (1 + std::tanh(0.79788456080286535588 * (a + 0.044715 * a * a * a)));
    case Pointwise::leaky_relu:
      return a >= 0 ? a : imm * a;
    case Pointwise::constant:
      return imm;
  }
  return 0;
}

std::string PointwiseProgram::str() const {
  std::string out;
  for (size_t i = 0; i < code.size(); ++i) {
    const PointwiseInstr& in = code[i];
    out += fmt::format("{}r{}={}(", i ? "; " : "", inputs + static_cast<int>(i), name_of(in.op));
    if (arity_of(in.op) >= 1) out += fmt::format("r{}", in.a);
    if (arity_of(in.op) == 2) out += fmt::format(",r{}", in.b);
    const bool has_imm =
        in.op == Pointwise::swish || in.op == Pointwise::leaky_relu || in.op == Pointwise::constant;
    if (has_imm) out += fmt::format("{}{}", arity_of(in.op) ? "," : "", in.imm);
    out += ")";
  }
  out += " ->";
  for (int16_t r : results) out += fmt::format(" r{}", r);
  return out;
}

}  // namespace vitrail
