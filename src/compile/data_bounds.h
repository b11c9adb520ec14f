// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <set>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace vitrail {

/// How large data symbols can become, as expressions over input symbols alone, so that memory can
/// be sized before anything has run.
class DataBounds {
 public:
  /// Of the graph's symbols and those of the bodies in it. A symbol without a bound (a Range whose
  /// limit the caller gives) gets room for kRoom, and a line in `account`.
  DataBounds(const ir::Graph& graph, std::vector<std::string>& account);

  static constexpr int64_t kRoom = 4096;

  const std::map<std::string, Expr, std::less<>>& all() const { return bounds_; }
  /// Whether `e` has a symbol that was given room for want of a bound.
  bool guessed(const Expr& e) const;
  /// The largest value of `e` over the values of its data symbols.
  Expr largest(const Expr& e) const;

 private:
  void add(const std::string& name, const std::map<std::string, ir::Symbol, std::less<>>& symbols,
           std::vector<std::string>& account);
  std::map<std::string, Expr, std::less<>> bounds_;
  std::set<std::string> guessed_;
  Ranges ranges_;
};

}  // namespace vitrail
