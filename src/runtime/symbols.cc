// SPDX-License-Identifier: Apache-2.0
// From the extents of the inputs to the values of the symbols.
#include <algorithm>

#include "base/error.h"
#include "runtime/executor.h"

namespace vitrail {
namespace {
// The value of the only unknown symbol for which `e`, linear in it, becomes `target`; nothing when
// there is none, or `e` is not linear.
std::optional<int64_t> solve(const Expr& e, const std::string& unknown, const Bindings& known,
                             int64_t target) {
  Bindings at = known;
  const auto value = [&](int64_t x) {
    at[unknown] = x;
    return e.eval(at);
  };
  const int64_t base = value(0), slope = checked_add(value(1), -base);
  if (slope == 0 || (target - base) % slope != 0) return {};
  const int64_t x = (target - base) / slope;
  return value(x) == target ? std::optional(x) : std::nullopt;
}
}  // namespace

void Executor::match_inputs(Bindings& symbols) const {
  const Plan& p = plan();
  const auto where = [&](size_t input, size_t axis) {
    return fmt::format("input '{}' {}: dimension {} ({})", printable(p.inputs[input].name),
                       to_string(inputs_[input].dims), axis,
                       printable(p.values[p.inputs[input].value].dims[axis].str()));
  };
  // Symbols that stand alone first, then those in expressions, each time one more is known.
  for (bool alone = true, found = true; found; alone = false) {
    found = alone;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const Shape& shape = p.values[p.inputs[i].value].dims;
      for (size_t axis = 0; axis < shape.size(); ++axis) {
        std::set<std::string> used;
        shape[axis].collect_symbols(used);
        std::erase_if(used, [&](const std::string& s) { return symbols.count(s) > 0; });
        if (used.size() != 1) continue;
        const std::string name = *used.begin();
        if (alone && !(shape[axis] == Expr::symbol(name))) continue;
        const std::optional<int64_t> value =
            solve(shape[axis], name, symbols, inputs_[i].dims[axis]);
        if (!value) continue;
        const PlanSymbol& s = program_.symbol(name);
        require(s.kind != PlanSymbol::Kind::input || (s.min <= *value && *value <= s.max),
                Code::bad_input,
                "{} is {}, which makes {} = {}; the plan allows {} from {} to {} (best at {}): "
                "build it for the range you need "
                "with --shapes",
                where(i, axis), inputs_[i].dims[axis], printable(name), *value, printable(name),
                s.min, s.max, s.opt);
        symbols[name] = *value;
        found = true;
      }
    }
  }
  for (const PlanSymbol& s : p.symbols)
    require(s.kind == PlanSymbol::Kind::data || symbols.count(s.name), Code::usage,
            "symbol '{}' is not given by the shape of any input: set it to {}..{}",
            printable(s.name), s.min, s.max);
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const PlanValue& v = p.values[p.inputs[i].value];
    for (size_t axis = 0; axis < v.dims.size(); ++axis) {
      const int64_t expected = v.dims[axis].eval(symbols);
      require(expected == inputs_[i].dims[axis], Code::bad_input, "{} is {}, expected {}",
              where(i, axis), inputs_[i].dims[axis], expected);
    }
  }
}

// Of several sets of ranges one must fit. When none does, the one that fits most extents says what
// is wrong.
void Executor::match_profile(const Bindings& symbols) const {
  std::vector<const PlanSymbol*> ranged;
  for (const PlanSymbol& s : plan().symbols)
    if (s.kind == PlanSymbol::Kind::input && !s.profiles.empty()) ranged.push_back(&s);
  if (ranged.empty()) return;
  const auto fits = [&](const PlanSymbol& s, size_t p) {
    const int64_t value = symbols.find(s.name)->second;
    return s.profiles[p].min <= value && value <= s.profiles[p].max;
  };
  size_t nearest = 0, most = 0;
  std::string all;
  for (size_t p = 0; p < ranged[0]->profiles.size(); ++p) {
    size_t fitting = 0;
    for (const PlanSymbol* s : ranged) {
      fitting += fits(*s, p);
      const PlanSymbol::Profile& r = s->profiles[p];
      all += fmt::format("{}{} {}..{}", s == ranged[0] ? (p ? "; or " : "") : ", ",
                         printable(s->name), r.min, r.max);
    }
    if (fitting == ranged.size()) return;
    if (p == 0 || fitting > most) nearest = p, most = fitting;
  }
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const Shape& shape = plan().values[plan().inputs[i].value].dims;
    for (size_t axis = 0; axis < shape.size(); ++axis)
      for (const PlanSymbol* s : ranged)
        require(!(shape[axis] == Expr::symbol(s->name)) || fits(*s, nearest), Code::bad_input,
                "input '{}' {}: dimension {} ({}) is {}; the plan allows {}: build it for the "
                "ranges you need with --shapes",
                printable(plan().inputs[i].name), to_string(inputs_[i].dims), axis,
                printable(s->name), inputs_[i].dims[axis], all);
  }
  fail(Code::bad_input, "the input shapes fit none of the plan's ranges: {}", all);
}

void Executor::solve_symbols() {
  const Plan& p = plan();
  for (size_t i = 0; i < inputs_.size(); ++i)
    require(inputs_[i].set, Code::usage, "input '{}' is not set", printable(p.inputs[i].name));
  Bindings symbols;
  for (const PlanSymbol& s : p.symbols) {
    if (s.kind == PlanSymbol::Kind::data) continue;
    const auto given = given_.find(s.name);
    if (given != given_.end()) {
      require(s.min <= given->second && given->second <= s.max, Code::usage,
              "symbol '{}' is {}, the plan allows {} to {}", printable(s.name), given->second,
              s.min, s.max);
      symbols[s.name] = given->second;
    } else if (s.min == s.max) {
      symbols[s.name] = s.min;
    }
  }
  match_inputs(symbols);
  match_profile(symbols);
  wanted_ = std::move(symbols);
}

}  // namespace vitrail
