// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <set>

#include "compile/compile.h"
#include "plan/validate.h"

namespace vitrail {
namespace {

// "input:1..4..16x3x224x224" with plausible numbers where nothing is known.
std::string ready_command(const ir::Graph& graph) {
  std::string out;
  for (ir::ValueId in : graph.inputs) {
    const ir::Value& value = graph.value(in);
    if (is_static(value.shape)) continue;
    out += fmt::format(" --shapes {}:", printable(value.name));
    for (size_t i = 0; i < value.shape.size(); ++i) {
      const Expr& d = value.shape[i];
      out += (i ? "x" : "") + (d.is_constant() ? d.str() : std::string(i == 0 ? "1..1..8" : "224..256..512"));
    }
  }
  return out;
}

}  // namespace

Bindings apply_shapes(ir::Graph& graph, const std::map<std::string, ShapeRange>& shapes) {
  for (const auto& [name, range] : shapes) {
    const bool known = std::any_of(graph.inputs.begin(), graph.inputs.end(), [&](ir::ValueId in) { return graph.value(in).name == name; });
    if (known) continue;
    std::string valid;
    for (ir::ValueId in : graph.inputs) valid += fmt::format("{}'{}' {}", valid.empty() ? "" : ", ", printable(graph.value(in).name), to_string(graph.value(in).shape));
    fail(Code::usage, "--shapes names the input '{}'; the model's inputs are {}", printable(name), valid);
  }
  struct Found {
    int64_t min, opt, max;
  };
  std::map<std::string, Found> found;
  std::string missing;
  for (ir::ValueId in : graph.inputs) {
    const ir::Value& value = graph.value(in);
    const auto given = shapes.find(value.name);
    if (given == shapes.end()) {
      if (!is_static(value.shape)) missing += fmt::format("{}'{}' {}", missing.empty() ? "" : ", ", printable(value.name), to_string(value.shape));
      continue;
    }
    const ShapeRange& range = given->second;
    const size_t rank = value.shape.size();
    require(range.min.size() == rank && range.opt.size() == rank && range.max.size() == rank, Code::usage,
            "--shapes gives input '{}' {} extents, the model has {} {}", printable(value.name), range.opt.size(), rank, to_string(value.shape));
    for (size_t i = 0; i < rank; ++i) {
      const Expr& d = value.shape[i];
      require(1 <= range.min[i] && range.min[i] <= range.opt[i] && range.opt[i] <= range.max[i], Code::usage,
              "--shapes: extent {} of input '{}' needs 1 <= min <= opt <= max, found {}..{}..{}", i, printable(value.name),
              range.min[i], range.opt[i], range.max[i]);
      if (d.is_constant()) {
        require(range.min[i] == d.constant() && range.max[i] == d.constant(), Code::usage,
                "--shapes: extent {} of input '{}' is {} in the model, found {}..{}", i, printable(value.name), d.str(), range.min[i], range.max[i]);
        continue;
      }
      const std::string symbol = d.str();
      if (!graph.symbols.contains(symbol)) continue;  // an expression: checked below
      const auto [at, fresh] = found.emplace(symbol, Found{range.min[i], range.opt[i], range.max[i]});
      require(fresh || (at->second.min == range.min[i] && at->second.opt == range.opt[i] && at->second.max == range.max[i]), Code::usage,
              "--shapes gives the extent '{}' two different ranges", symbol);
    }
  }
  require(missing.empty(), Code::usage, "the model has dynamic extents: {}; say which shapes it shall run (min..opt..max):{}", missing, ready_command(graph));
  Bindings opt;
  std::map<std::string, Expr, std::less<>> fixed;
  for (auto& [name, symbol] : graph.symbols) {
    if (symbol.kind != ir::SymbolKind::input) continue;
    const auto at = found.find(name);
    require(at != found.end(), Code::usage, "the extent '{}' has no range; it stands in no input alone", name);
    symbol.range = {at->second.min, at->second.max};
    if (at->second.min == at->second.max) fixed[name] = at->second.opt;
    else opt[name] = at->second.opt;
  }
  ir::substitute(graph, fixed);
  return opt;
}

std::map<std::string, ShapeRange> ranges_of(const Plan& plan) {
  const Bindings min = symbols_at(plan, &PlanSymbol::min), opt = symbols_at(plan, &PlanSymbol::opt),
                 max = symbols_at(plan, &PlanSymbol::max);
  std::map<std::string, ShapeRange> out;
  for (const PlanTensorInfo& in : plan.inputs) {
    const Shape& dims = plan.values.at(static_cast<size_t>(in.value)).dims;
    out[in.name] = {eval(dims, min), eval(dims, opt), eval(dims, max)};
  }
  return out;
}

}  // namespace vitrail
