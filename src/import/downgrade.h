// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "ops/op.h"

namespace vitrail {

/// A node on its way into a model of an older opset. Values are named; an empty name is absent.
struct Draft {
  std::string op, domain, name;
  Attrs attrs;
  std::vector<std::string> inputs, outputs;
};

/// What a rule may ask and do besides changing its node.
struct Drafter {
  int opset = 0;
  Ranges ranges;  ///< of the graph's symbols
  /// Type of a value of the graph or of a constant; null for what a node made by a rule gives.
  std::function<const ValueInfo*(const std::string&)> info;
  /// Writes a node as it is.
  std::function<void(Draft)> write;
  /// Adds an initializer; returns its name.
  std::function<std::string(const std::string& wanted, Tensor)> constant;
  std::function<std::string(const std::string& wanted)> fresh_name;
};

/// Brings a node in the newest form to `drafter.opset` and writes it. Throws Error(unsupported)
/// when that opset cannot express it.
void downgrade(Drafter& drafter, Draft node);

}  // namespace vitrail
