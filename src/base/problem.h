// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/pointwise.h"
#include "base/shape.h"

namespace vitrail {

/// One tensor that a kernel reads or writes. Extents and strides (in elements) are expressions; a
/// stride of 0 repeats (broadcast). What each extent means is the family's convention.
struct Operand {
  DType dtype = DType::f32;
  Shape dims;
  Shape strides;
  bool constant = false;  ///< a weight, handed over in the family's packed form
  bool operator==(const Operand&) const = default;
};

/// What is asked of a kernel family, as plain data: no graph, no addresses. The families and their
/// conventions are in src/kernels/<family>/family.h. Two equal problems have the same candidates
/// and the same timings.
struct Problem {
  std::string family;
  std::vector<Operand> inputs;
  std::vector<Operand> outputs;
  std::map<std::string, int64_t> ints;   ///< windows, pads, flags
  std::map<std::string, double> floats;  ///< eps, scale
  /// Applied to each finished element. Register 0 is the kernel's own result, register 1 + i is
  /// inputs[epilogue_inputs + i] at the same output position (strides may be 0).
  PointwiseProgram epilogue;
  int epilogue_inputs = 0;
  /// Result must not depend on thread count or on other extents (build --deterministic).
  bool fixed_order = false;
  bool operator==(const Problem&) const = default;

  int64_t integer(const std::string& key, int64_t fallback) const {
    const auto found = ints.find(key);
    return found == ints.end() ? fallback : found->second;
  }
  double number(const std::string& key, double fallback) const {
    const auto found = floats.find(key);
    return found == floats.end() ? fallback : found->second;
  }
  /// Canonical text: the tuner's cache key and what `inspect` prints.
  std::string str() const;
};

/// An operand at given values of the symbols.
struct BoundOperand {
  DType dtype = DType::f32;
  Dims dims, strides;
  bool constant = false;
};

/// A problem at given values of the symbols.
struct BoundProblem {
  const Problem* problem = nullptr;
  std::vector<BoundOperand> inputs, outputs;
};
BoundProblem bind(const Problem& problem, const Bindings& bindings);

/// Parameters of a variant, for example {"mr": 12, "kc": 384}. Empty: the variant's own choice.
using Tactic = std::map<std::string, int64_t>;
std::string to_string(const Tactic& tactic);

}  // namespace vitrail
