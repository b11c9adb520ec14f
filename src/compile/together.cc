// SPDX-License-Identifier: Apache-2.0
// conv q, copy, product q, conv k, copy, product k   =>   [conv q, copy, conv k, copy], [product q,
// product k]
#include "compile/together.h"

#include <algorithm>
#include <set>

namespace vitrail {
namespace {

constexpr size_t kMostTogether = 8, kMostAhead = 24;
// Elements written: a larger step fills the device by itself, and its results would live longer.
constexpr int64_t kMostElements = int64_t{1} << 23;

struct Use {
  std::set<int> reads, writes;  ///< buffers
};
Use use_of(const LaidStep& step) {
  Use use;
  for (const ir::Storage& s : step.inputs)
    if (s.buffer >= 0) use.reads.insert(s.buffer);
  for (const ir::Storage& s : step.outputs)
    if (s.buffer >= 0) use.writes.insert(s.buffer);
  return use;
}
bool meet(const std::set<int>& a, const std::set<int>& b) {
  return std::any_of(a.begin(), a.end(), [&](int x) { return b.contains(x); });
}
// Two writes to one buffer are parts of a Concat and do not meet: every value is written once.
bool independent(const Use& a, const Use& b) {
  return !meet(a.writes, b.reads) && !meet(a.reads, b.writes);
}

bool small(const LaidStep& step, const Bindings& opt) {
  for (const Operand& out : step.lowered.problem.outputs) {
    std::set<std::string> symbols;
    for (const Expr& e : out.dims) e.collect_symbols(symbols);
    for (const std::string& name : symbols)
      if (!opt.contains(name)) return false;
    int64_t count = 1;
    for (const Expr& e : out.dims) count *= e.eval(opt);
    if (count > kMostElements) return false;
  }
  return true;
}

bool fit(const LaidStep& head, const LaidStep& other) {
  static const std::set<std::string_view> kLight = {"copy", "depthwise", "layernorm", "pointwise"};
  const std::string &a = head.lowered.problem.family, &b = other.lowered.problem.family;
  return a == b || (kLight.contains(a) && b == "copy") || (a == "copy" && kLight.contains(b));
}

}  // namespace

void bring_together(std::vector<LaidStep>& steps, const Bindings& opt) {
  const auto may = [&](const LaidStep& s) {
    return s.kind == LaidStep::Kind::launch && small(s, opt);
  };
  for (size_t i = 0; i < steps.size(); ++i) {
    if (!may(steps[i])) continue;
    std::vector<Use> passed = {use_of(steps[i])};  // the group, and what was left behind it
    size_t end = i + 1;
    for (size_t j = i + 1; j < std::min(steps.size(), i + kMostAhead); ++j) {
      if (steps[j].kind != LaidStep::Kind::launch || end - i == kMostTogether) break;
      const Use use = use_of(steps[j]);
      const bool free = std::all_of(passed.begin(), passed.end(),
                                    [&](const Use& p) { return independent(use, p); });
      passed.push_back(use);
      if (!free || !may(steps[j]) || !fit(steps[i], steps[j])) continue;
      std::rotate(steps.begin() + static_cast<std::ptrdiff_t>(end),
                  steps.begin() + static_cast<std::ptrdiff_t>(j),
                  steps.begin() + static_cast<std::ptrdiff_t>(j) + 1);
      ++end;
    }
    steps[i].together = static_cast<int>(end - i);
    i = end - 1;
  }
}

}  // namespace vitrail
