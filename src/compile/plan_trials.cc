// SPDX-License-Identifier: Apache-2.0
#include "compile/plan_trials.h"

#include <algorithm>

#include "base/error.h"

namespace vitrail {
namespace {

// How far behind the chosen kernel another may be that could be better in the plan; how many.
constexpr double kNear = 1.15;
constexpr size_t kMostOthers = 2;

using Groups = std::map<std::string, std::vector<size_t>>;

template <typename Key>
Groups group(const StepChoices& now, const Key& key) {
  Groups out;
  for (size_t i = 0; i < now.size(); ++i) out[key(i)].push_back(i);
  return out;
}
Groups alike(const Plan& plan, const StepChoices& now) {
  return group(now, [&](size_t i) { return plan.steps[i].problem.str() + text_of(now[i]); });
}

std::string name_of(const Plan& plan, const std::vector<size_t>& steps) {
  std::string out = fmt::format("'{}'", printable(plan.steps[steps[0]].name));
  if (steps.size() > 1) out += fmt::format(" and {} more", steps.size() - 1);
  return out;
}

// The winner's nearest, fastest first, and the heuristic choice, however it did: where what was
// timed alone misleads, the plan need not be slower than an untuned one.
std::vector<TimedCandidate> others_of(const Timing& timing) {
  std::vector<TimedCandidate> out;
  const double least = timing.candidates[timing.winner].microseconds;
  for (size_t i = 1; i < timing.candidates.size(); ++i) {
    const TimedCandidate& c = timing.candidates[i];
    if (i != timing.winner && c.microseconds > 0 && c.microseconds <= kNear * least)
      out.push_back(c);
  }
  std::stable_sort(out.begin(), out.end(), [](const TimedCandidate& a, const TimedCandidate& b) {
    return a.microseconds < b.microseconds;
  });
  if (out.size() > kMostOthers) out.resize(kMostOthers);
  if (timing.winner != 0 && timing.candidates[0].microseconds > 0)
    out.push_back(timing.candidates[0]);
  return out;
}

}  // namespace

std::string text_of(const KernelChoice& c) {
  std::string out = c.kernel;
  if (!c.tactic.empty()) out += " " + to_string(c.tactic);
  if (c.full_edge) out += ", full edge";
  if (c.division == Division::shared) out += ", most memory shared";
  return out;
}

std::vector<Trial> setting_trials(const Plan& plan, const StepChoices& now, bool wide) {
  std::vector<Trial> out;
  const auto add = [&](const std::string& subject, const std::vector<size_t>& steps) {
    const bool full = !now[steps[0]].full_edge;
    const bool shared = now[steps[0]].division != Division::shared;
    out.push_back({Trial::Kind::edge, subject, full ? "full edge" : "early start", steps,
                   [full](KernelChoice& c) { c.full_edge = full; }});
    out.push_back({Trial::Kind::division, subject,
                   shared ? "most memory shared" : "memory divided by size", steps,
                   [shared](KernelChoice& c) {
                     c.division = shared ? Division::shared : Division::by_size;
                   }});
  };
  if (!wide) {
    for (const auto& [key, steps] : alike(plan, now)) add(name_of(plan, steps), steps);
    return out;
  }
  for (const auto& [all, steps] : group(now, [](size_t) { return std::string(); }))
    add("all launches", steps);
  for (const auto& [kernel, steps] : group(now, [&](size_t i) { return now[i].kernel; }))
    if (steps.size() < now.size()) add("all of " + kernel, steps);
  return out;
}

std::vector<Trial> kernel_trials(const Plan& plan, const StepChoices& now, PlanJobs& jobs,
                                 size_t point, const TimingCache& cache) {
  std::vector<Trial> out;
  for (const auto& [same, steps] : alike(plan, now)) {
    const std::string& key = jobs.keys.at(&plan.steps[steps[0]])[point];
    if (key.empty() || !from_cache(jobs.jobs.at(key), cache)) continue;
    for (const TimedCandidate& c : others_of(jobs.jobs.at(key).timing))
      out.push_back({Trial::Kind::kernel, name_of(plan, steps),
                     text_of({.when = {}, .kernel = c.kernel, .tactic = c.tactic}), steps,
                     [c](KernelChoice& choice) {
                       choice.kernel = c.kernel;
                       choice.tactic = c.tactic;
                       choice.microseconds = c.microseconds;
                     }});
  }
  return out;
}

}  // namespace vitrail
