// SPDX-License-Identifier: Apache-2.0
#include "compile/choices.h"

#include <algorithm>
#include <cmath>

namespace vitrail {
namespace {

constexpr double kWidestGap = 6;

int64_t geometric_mean(int64_t a, int64_t b) {
  return std::llround(std::sqrt(static_cast<double>(a) * static_cast<double>(b)));
}

double widest(const Bindings& a, const Bindings& b) {
  double out = 1;
  for (const auto& [name, low] : a)
    out = std::max(
        out, static_cast<double>(b.at(name)) / static_cast<double>(std::max<int64_t>(low, 1)));
  return out;
}

// Adds the points strictly between a and b.
void between(const Bindings& a, const Bindings& b, std::vector<TunedPoint>& out) {
  if (widest(a, b) <= kWidestGap) return;
  TunedPoint mid;
  for (const auto& [name, low] : a) mid.at[name] = geometric_mean(low, b.at(name));
  if (mid.at == a || mid.at == b) return;
  between(a, mid.at, out);
  out.push_back(mid);
  between(mid.at, b, out);
}

// One set of ranges: the line from min over opt to max, `set` as its number.
void add_line(const Bindings& min, const Bindings& opt, const Bindings& max, size_t set,
              std::vector<TunedPoint>& points) {
  std::vector<Bindings> line = {min};
  if (opt != min) line.push_back(opt);
  if (max != opt) line.push_back(max);
  std::vector<TunedPoint> out;
  for (size_t i = 0; i < line.size(); ++i) {
    if (i > 0) between(line[i - 1], line[i], out);
    out.push_back({line[i], {}, line[i] == opt});
  }
  // Where a symbol has one value at several neighbours they share its interval.
  for (const auto& [name, least] : min)
    for (size_t i = 0; i < out.size();) {
      size_t end = i + 1;
      while (end < out.size() && out[end].at[name] == out[i].at[name]) ++end;
      const int64_t value = out[i].at[name];
      const int64_t low = i == 0 ? least : geometric_mean(out[i - 1].at[name], value);
      const int64_t high =
          end == out.size() ? max.at(name) : geometric_mean(value, out[end].at[name]);
      // A midpoint belongs to the lower neighbour, unless it is the upper one's own value.
      const Interval own{
          i == 0 ? low : std::min(low + 1, value),
          end == out.size() ? high : std::max(value, std::min(high, out[end].at[name] - 1))};
      for (; i < end; ++i) out[i].when[name] = own;
    }
  for (TunedPoint& point : out) point.set = set;
  points.insert(points.end(), out.begin(), out.end());
}

}  // namespace

bool same(const KernelChoice& a, const KernelChoice& b) {
  return a.kernel == b.kernel && a.tactic == b.tactic && a.full_edge == b.full_edge &&
         a.division == b.division;
}

int choice_at(const Step& step, const Bindings& at) {
  for (size_t i = 0; i < step.choices.size(); ++i) {
    const Ranges& when = step.choices[i].when;
    if (std::all_of(when.begin(), when.end(), [&](const auto& entry) {
          const auto value = at.find(entry.first);
          return value != at.end() && entry.second.low <= value->second &&
                 value->second <= entry.second.high;
        }))
      return static_cast<int>(i);
  }
  return -1;
}

std::vector<TunedPoint> tuned_points(const Plan& plan) {
  size_t sets = 0;
  for (const PlanSymbol& s : plan.symbols)
    if (s.kind == PlanSymbol::Kind::input) sets = std::max(sets, s.profiles.size());
  std::vector<TunedPoint> out;
  for (size_t set = 0; set < std::max<size_t>(sets, 1); ++set) {
    Bindings min, opt, max;
    for (const PlanSymbol& s : plan.symbols) {
      if (s.kind != PlanSymbol::Kind::input) continue;
      const PlanSymbol::Profile range =
          sets ? s.profiles.at(set) : PlanSymbol::Profile{s.min, s.opt, s.max};
      min[s.name] = range.min;
      opt[s.name] = range.opt;
      max[s.name] = range.max;
    }
    add_line(min, opt, max, set, out);
  }
  return out;
}

std::set<std::string> symbols_of(const Problem& problem) {
  std::set<std::string> out;
  for (const auto* list : {&problem.inputs, &problem.outputs})
    for (const Operand& o : *list)
      for (const Shape* shape : {&o.dims, &o.strides})
        for (const Expr& e : *shape) e.collect_symbols(out);
  return out;
}

std::vector<KernelChoice> merge_choices(const std::vector<TunedPoint>& points,
                                        const std::vector<KernelChoice>& chosen,
                                        const std::set<std::string>& relevant) {
  const auto opt = static_cast<size_t>(
      std::find_if(points.begin(), points.end(), [](const TunedPoint& p) { return p.opt; }) -
      points.begin());
  std::vector<KernelChoice> out;
  for (size_t i = 0; i < points.size();) {
    size_t end = i + 1;
    while (end < points.size() && points[end].set == points[i].set && same(chosen[end], chosen[i]))
      ++end;
    if (!same(chosen[i], chosen[opt])) {
      KernelChoice choice = chosen[i];
      for (const std::string& name : relevant)
        if (const auto first = points[i].when.find(name); first != points[i].when.end())
          choice.when[name] = {first->second.low, points[end - 1].when.at(name).high};
      out.push_back(std::move(choice));
    }
    i = end;
  }
  out.push_back(chosen[opt]);
  out.back().when.clear();
  return out;
}

}  // namespace vitrail
