// SPDX-License-Identifier: Apache-2.0
#include "base/problem.h"

#include "base/error.h"

namespace vitrail {
namespace {
std::string text_of(const Operand& operand) {
  return fmt::format("{}{}{}{}", name_of(operand.dtype), to_string(operand.dims),
                     to_string(operand.strides), operand.constant ? "w" : "");
}
BoundOperand bind(const Operand& operand, const Bindings& bindings) {
  return {operand.dtype, eval(operand.dims, bindings), eval(operand.strides, bindings),
          operand.constant};
}
}  // namespace

std::string Problem::str() const {
  std::string out = family + "(";
  for (const Operand& in : inputs) out += text_of(in) + " ";
  out += "->";
  for (const Operand& o : outputs) out += " " + text_of(o);
  for (const auto& [key, value] : ints) out += fmt::format(" {}={}", key, value);
  for (const auto& [key, value] : floats) out += fmt::format(" {}={}", key, value);
  if (!epilogue.identity()) out += fmt::format(" epilogue@{}[{}]", epilogue_inputs, epilogue.str());
  return out + (fixed_order ? " fixed)" : ")");
}

BoundProblem bind(const Problem& problem, const Bindings& bindings) {
  BoundProblem out{&problem, {}, {}};
  for (const Operand& in : problem.inputs) out.inputs.push_back(bind(in, bindings));
  for (const Operand& o : problem.outputs) out.outputs.push_back(bind(o, bindings));
  return out;
}

std::string to_string(const Tactic& tactic) {
  std::string out;
  for (const auto& [key, value] : tactic)
    out += fmt::format("{}{}={}", out.empty() ? "" : ",", key, value);
  return out;
}

}  // namespace vitrail
