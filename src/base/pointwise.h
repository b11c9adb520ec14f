// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vitrail {

/// Instructions of a pointwise program, on float32 registers.
enum class Pointwise : uint8_t {
  // two operands
  add,
  sub,
  mul,
  div,
  min,
  max,
  pow,
  // one operand
  neg,
  abs,
  exp,
  log,
  sqrt,
  reciprocal,
  erf,
  tanh,
  sigmoid,
  relu,
  floor,
  ceil,
  round,
  sin,
  cos,
  /// x * sigmoid(imm * x): imm 1 is SiLU, imm 1.702 is QuickGELU
  swish,
  /// 0.5 * x * (1 + erf(x / sqrt(2)))
  gelu,
  /// 0.5 * x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))
  gelu_tanh,
  /// x >= 0 ? x : imm * x
  leaky_relu,
  // no operand
  constant,  ///< imm
};
constexpr int kPointwiseCount = static_cast<int>(Pointwise::constant) + 1;

const char* name_of(Pointwise op);
Pointwise pointwise_from_name(std::string_view name);
/// Number of register operands: 0, 1 or 2.
int arity_of(Pointwise op);
/// The instruction in float64, the definition that kernels are tested against.
double evaluate(Pointwise op, double a, double b, double imm);

/// result = op(register a, register b), with an immediate for the ops that have one.
struct PointwiseInstr {
  Pointwise op = Pointwise::add;
  int16_t a = 0, b = 0;
  float imm = 0;
  bool operator==(const PointwiseInstr&) const = default;
};

/// Straight-line code. Registers 0..inputs-1 hold the inputs, instruction i defines register
/// inputs + i; `results` are the registers that leave. An empty program is the identity.
struct PointwiseProgram {
  int inputs = 1;
  std::vector<PointwiseInstr> code;
  std::vector<int16_t> results = {0};

  bool identity() const { return code.empty() && results.size() == 1 && results[0] == 0; }
  bool operator==(const PointwiseProgram&) const = default;
  /// "r2=mul(r0,r1); r3=gelu(r2) -> r3"
  std::string str() const;
};

}  // namespace vitrail
