// SPDX-License-Identifier: Apache-2.0
#include "compile/data_bounds.h"

#include <algorithm>

namespace vitrail {
namespace {

void collect(const ir::Graph& graph, std::map<std::string, ir::Symbol, std::less<>>& out) {
  for (const auto& [name, symbol] : graph.symbols) out.try_emplace(name, symbol);
  for (ir::NodeId id : graph.topological_order())
    if (!graph.node(id).is_fusion())
      for (const auto& body : graph.node(id).bodies) collect(*body, out);
}

}  // namespace

DataBounds::DataBounds(const ir::Graph& graph, std::vector<std::string>& account) {
  std::map<std::string, ir::Symbol, std::less<>> symbols;
  collect(graph, symbols);
  for (const auto& [name, symbol] : symbols)
    if (symbol.kind != ir::SymbolKind::data) ranges_[name] = symbol.range;
  for (const auto& [name, symbol] : symbols) add(name, symbols, account);
}

void DataBounds::add(const std::string& name,
                     const std::map<std::string, ir::Symbol, std::less<>>& symbols,
                     std::vector<std::string>& account) {
  const ir::Symbol& symbol = symbols.at(name);
  if (symbol.kind != ir::SymbolKind::data || bounds_.contains(name)) return;
  bounds_[name] = kRoom;  // of a bound that leads back to itself
  std::set<std::string> used;
  symbol.bound.collect_symbols(used);
  for (const std::string& other : used)
    if (symbols.contains(other)) add(other, symbols, account);
  const Expr bound = largest(symbol.bound);
  if (bound.bounds(ranges_).high < Interval::kUnbounded) {
    bounds_[name] = bound;
    return;
  }
  guessed_.insert(name);
  account.push_back(
      fmt::format("'{}' has no bound that is known before a run: the plan has room for {}",
                  printable(name), kRoom));
}

bool DataBounds::guessed(const Expr& e) const {
  std::set<std::string> used;
  e.collect_symbols(used);
  return std::any_of(used.begin(), used.end(),
                     [&](const std::string& s) { return guessed_.contains(s); });
}

// Sums, products and max of extents grow or fall with each symbol, so the largest value is at an
// end of the symbol's range. A remainder (which holds a floordiv) does not; interval arithmetic
// covers it.
Expr DataBounds::largest(const Expr& e) const {
  std::set<std::string> used;
  e.collect_symbols(used);
  Expr out = e;
  Ranges ranges = ranges_;
  bool data = false;
  for (const std::string& name : used) {
    const auto bound = bounds_.find(name);
    if (bound == bounds_.end()) continue;
    data = true;
    ranges[name] = {0, bound->second.bounds(ranges_).high};
    out = max(out.substitute({{name, bound->second}}), out.substitute({{name, Expr(0)}}));
  }
  if (!data || e.str().find("floordiv") == std::string::npos) return out;
  const int64_t high = e.bounds(ranges).high;
  return high < Interval::kUnbounded ? Expr(high) : out;
}

}  // namespace vitrail
