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
      out += (i ? "x" : "") +
             (d.is_constant() ? d.str() : std::string(i == 0 ? "1..1..8" : "224..256..512"));
    }
  }
  return out;
}

}  // namespace

Bindings apply_shapes(ir::Graph& graph, const std::map<std::string, ShapeRange>& shapes) {
  for (const auto& [name, range] : shapes) {
    const bool known =
        std::any_of(graph.inputs.begin(), graph.inputs.end(),
                    [&, &wanted = name](ir::ValueId in) { return graph.value(in).name == wanted; });
    if (known) continue;
    std::string valid;
    for (ir::ValueId in : graph.inputs)
      valid += fmt::format("{}'{}' {}", valid.empty() ? "" : ", ", printable(graph.value(in).name),
                           to_string(graph.value(in).shape));
    fail(Code::usage, "--shapes names the input '{}'; the model's inputs are {}", printable(name),
         valid);
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
      if (!is_static(value.shape))
        missing += fmt::format("{}'{}' {}", missing.empty() ? "" : ", ", printable(value.name),
                               to_string(value.shape));
      continue;
    }
    const ShapeRange& range = given->second;
    const size_t rank = value.shape.size();
    require(range.min.size() == rank && range.opt.size() == rank && range.max.size() == rank,
            Code::usage, "--shapes gives input '{}' {} extents, the model has {} {}",
            printable(value.name), range.opt.size(), rank, to_string(value.shape));
    for (size_t i = 0; i < rank; ++i) {
      const Expr& d = value.shape[i];
      require(1 <= range.min[i] && range.min[i] <= range.opt[i] && range.opt[i] <= range.max[i],
              Code::usage,
              "--shapes: extent {} of input '{}' needs 1 <= min <= opt <= max, found {}..{}..{}", i,
              printable(value.name), range.min[i], range.opt[i], range.max[i]);
      if (d.is_constant()) {
        require(range.min[i] == d.constant() && range.max[i] == d.constant(), Code::usage,
                "--shapes: extent {} of input '{}' is {} in the model, found {}..{}", i,
                printable(value.name), d.str(), range.min[i], range.max[i]);
        continue;
      }
      const std::string symbol = d.str();
      if (!graph.symbols.contains(symbol)) continue;  // an expression: checked below
      const auto [at, fresh] =
          found.emplace(symbol, Found{range.min[i], range.opt[i], range.max[i]});
      require(fresh || (at->second.min == range.min[i] && at->second.opt == range.opt[i] &&
                        at->second.max == range.max[i]),
              Code::usage, "--shapes gives the extent '{}' two different ranges", symbol);
    }
  }
  require(missing.empty(), Code::usage,
          "the model has dynamic extents: {}; say which shapes it shall run (min..opt..max):{}",
          missing, ready_command(graph));
  Bindings opt;
  std::map<std::string, Expr, std::less<>> fixed;
  for (auto& [name, symbol] : graph.symbols) {
    if (symbol.kind != ir::SymbolKind::input) continue;
    const auto at = found.find(name);
    require(at != found.end(), Code::usage,
            "the extent '{}' has no range; it stands in no input alone", name);
    symbol.range = {at->second.min, at->second.max};
    if (at->second.min == at->second.max)
      fixed[name] = at->second.opt;
    else
      opt[name] = at->second.opt;
  }
  ir::substitute(graph, fixed);
  return opt;
}

std::map<std::string, ShapeRange> hull_of(
    const std::vector<std::map<std::string, ShapeRange>>& profiles) {
  std::map<std::string, ShapeRange> out = profiles.at(0);
  for (const auto& profile : profiles) {
    require(profile.size() == out.size(), Code::usage,
            "--shapes: one set of ranges names {} inputs, another {}", out.size(), profile.size());
    for (const auto& [name, range] : profile) {
      const auto at = out.find(name);
      require(at != out.end() && at->second.min.size() == range.min.size(), Code::usage,
              "--shapes: the sets of ranges differ in input '{}' or its rank", printable(name));
      for (size_t i = 0; i < range.min.size(); ++i) {
        at->second.min[i] = std::min(at->second.min[i], range.min[i]);
        at->second.max[i] = std::max(at->second.max[i], range.max[i]);
      }
    }
  }
  return out;
}

void add_profiles(Plan& plan, const ir::Graph& imported,
                  const std::vector<std::map<std::string, ShapeRange>>& profiles) {
  if (profiles.size() < 2) return;
  for (const auto& profile : profiles) {
    ir::Graph graph = imported.clone();
    const Bindings opt = apply_shapes(graph, profile);
    for (PlanSymbol& s : plan.symbols) {
      if (s.kind != PlanSymbol::Kind::input) continue;
      const auto left = graph.symbols.find(s.name);
      if (left != graph.symbols.end()) {
        s.profiles.push_back({left->second.range.low, opt.at(s.name), left->second.range.high});
        continue;
      }
      for (ir::ValueId in : imported.inputs) {  // one value in this set: some input says which
        const ir::Value& value = imported.value(in);
        for (size_t d = 0; d < value.shape.size(); ++d)
          if (value.shape[d] == Expr::symbol(s.name) &&
              s.profiles.size() < static_cast<size_t>(&profile - profiles.data()) + 1) {
            const int64_t only = profile.at(value.name).opt[d];
            s.profiles.push_back({only, only, only});
          }
      }
    }
  }
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

std::vector<std::map<std::string, ShapeRange>> profiles_of(const Plan& plan) {
  size_t sets = 0;
  for (const PlanSymbol& s : plan.symbols) sets = std::max(sets, s.profiles.size());
  std::vector<std::map<std::string, ShapeRange>> out(sets);
  for (size_t p = 0; p < sets; ++p) {
    const auto at = [&](int64_t PlanSymbol::Profile::*pick) {
      Bindings values;
      for (const PlanSymbol& s : plan.symbols)
        if (s.kind == PlanSymbol::Kind::input) values[s.name] = s.profiles.at(p).*pick;
      return values;
    };
    const Bindings min = at(&PlanSymbol::Profile::min), opt = at(&PlanSymbol::Profile::opt),
                   max = at(&PlanSymbol::Profile::max);
    for (const PlanTensorInfo& in : plan.inputs) {
      const Shape& dims = plan.values.at(static_cast<size_t>(in.value)).dims;
      out[p][in.name] = {eval(dims, min), eval(dims, opt), eval(dims, max)};
    }
  }
  return out;
}

}  // namespace vitrail
