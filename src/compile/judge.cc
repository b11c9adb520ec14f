// SPDX-License-Identifier: Apache-2.0
#include "compile/judge.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "compile/choices.h"
#include "plan/validate.h"

namespace vitrail {
namespace {

using Clock = std::chrono::steady_clock;

// Of the whole plan: a tenth of a launch's time in fifty is worth keeping, and rounds of a whole
// plan on an idle GPU differ by less.
constexpr double kLeastGain = 0.002;
// What three rounds must promise for more.
constexpr double kPromising = 0.001;
constexpr int kFirstLook = 3, kLeastRounds = 7, kMostRounds = 21;
constexpr double kPatience = 0.06;  // seconds beyond the least rounds

class Judge {
 public:
  Judge(Plan& plan, PlanJobs& jobs, size_t point, PlanStand& stand, Clock::time_point deadline,
        TimingCache& cache, std::vector<std::string>& account)
      : plan_(plan),
        jobs_(jobs),
        point_(point),
        stand_(stand),
        cache_(cache),
        account_(account),
        symbols_(symbols_at(plan, &PlanSymbol::opt)),
        deadline_(deadline) {
    for (const auto& [name, value] : jobs.points[point].at) symbols_[name] = value;
    add_data_bounds(plan, symbols_);
    const Ranges when = interval();
    for (const auto& [name, range] : when)
      place_ += fmt::format("{}{}={}", place_.empty() ? " at " : ", ", name, symbols_.at(name));
  }

  void run() {
    if (!find_choices()) return;
    const Clock::time_point start = Clock::now();
    // From coarse to fine, so that what gains most comes before the budget ends.
    attempt([&] { judge(setting_trials(plan_, now_, true)); });
    attempt([&] { judge(setting_trials(plan_, now_, false)); });
    const size_t settings = kept_;
    attempt([&] { judge(kernel_trials(plan_, now_, jobs_, point_, cache_)); });
    if (kept_ > settings) attempt([&] { judge(setting_trials(plan_, now_, false)); });
    if (!alike(now_, own_)) keep();
    tell(std::chrono::duration<double>(Clock::now() - start).count());
  }

 private:
  bool late() const { return Clock::now() >= deadline_; }

  bool find_choices() {
    for (const Step& step : plan_.steps) {
      const int choice = choice_at(step, symbols_);
      if (choice < 0) return false;
      own_.push_back(step.choices[static_cast<size_t>(choice)]);
      text_ += fmt::format("{} together {}", step.problem.str(), step.together);
      for (const auto* list : {&step.inputs, &step.outputs})
        for (const int value : *list) text_ += fmt::format(" {}", value);
    }
    for (const auto& [name, value] : symbols_) text_ += fmt::format(" {}={}", name, value);
    now_ = own_;
    return !own_.empty();
  }

  // ------------------------------------------------------------------ times
  // Everything that the answer depends on, as a key of the cache.
  std::string key_of(const std::vector<StepChoices>& variants) const {
    Hasher hasher;
    const auto add = [&](const std::string& s) { hasher.update(as_bytes(s)); };
    add(text_);
    for (const StepChoices& variant : variants)
      for (const KernelChoice& choice : variant) add(text_of(choice) + "\n");
    return fmt::format("{} variants of a plan, {}", variants.size(), hasher.digest().str());
  }

  // Odd rounds go backwards, as the tuner's. False: the budget ended.
  bool rounds(std::vector<std::vector<double>>& table, int least, int most) {
    const Clock::time_point began = Clock::now();
    for (int round = 0; round < most; ++round) {
      if (round >= least && std::chrono::duration<double>(Clock::now() - began).count() > kPatience)
        break;
      for (size_t i = 0; i < table.size(); ++i) {
        if (late()) return false;
        const size_t turn = round % 2 ? table.size() - 1 - i : i;
        table[turn].push_back(stand_.run(turn));
      }
    }
    return true;
  }
  bool measure(const std::vector<StepChoices>& variants, std::vector<std::vector<double>>& table) {
    if (late()) return false;
    const bool two = variants.size() == 2;
    bool whole = false;
    try {
      stand_.open(plan_, symbols_, variants);
      whole = rounds(table, two ? kLeastRounds : kFirstLook, two ? kMostRounds : kFirstLook);
    } catch (...) {
      stand_.close();
      throw;
    }
    stand_.close();
    return whole;
  }
  // The times of several, or of two until one has won. Nothing: the budget ended before.
  const Timing* time(const std::vector<StepChoices>& variants) {
    const std::string key = key_of(variants);
    const Timing* const known = cache_.find(key);
    if (known && known->candidates.size() == variants.size()) return known;
    std::vector<std::vector<double>> table(variants.size());
    if (!measure(variants, table)) {
      ended_ = true;
      return nullptr;
    }
    timed_ += variants.size();
    Timing timing;
    for (size_t i = 0; i < variants.size(); ++i) {
      const double us = median(table[i]);
      timing.candidates.push_back(
          {i ? fmt::format("change {}", i) : "as it is", {}, std::isfinite(us) ? us : 0});
    }
    if (variants.size() == 2) {
      const Verdict verdict = decide(table, kLeastGain);
      timing.winner = verdict.winner;
      if (verdict.runner_up)
        timing.unstable = fmt::format("{:.1f} % faster, but the rounds spread by {:.1f} %",
                                      verdict.gain * 100, verdict.spread * 100);
    }
    cache_.add(key, timing);
    return cache_.find(key);
  }

  // ------------------------------------------------------------------ judging
  static bool alike(const StepChoices& a, const StepChoices& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), same);
  }

  template <typename Action>
  void attempt(const Action& action) {
    try {
      action();
    } catch (const Error& error) {
      // A device too small for all of this; a kernel that does not compile beside others.
      if (error.code != Code::resource && error.code != Code::unsupported &&
          error.code != Code::internal)
        throw;
      log_warning("not judged in the plan{}: {}", place_, error.what());
      lines_.push_back(
          fmt::format("not judged in the plan{}: {}", place_, printable(error.what(), 300)));
    }
  }

  void judge(const std::vector<Trial>& all) {
    std::vector<const Trial*> trials;
    std::vector<StepChoices> variants = {now_};
    for (const Trial& trial : all)
      if (StepChoices variant = trial.on(now_); !alike(variant, now_)) {
        trials.push_back(&trial);
        variants.push_back(std::move(variant));
      }
    if (trials.empty()) return;
    const Timing* const first = time(variants);
    if (!first || first->candidates[0].microseconds <= 0) return;
    const double own = first->candidates[0].microseconds;
    if (before_ == 0) before_ = after_ = own;
    std::vector<std::pair<double, const Trial*>> promising;
    for (size_t i = 0; i < trials.size(); ++i) {
      ++tried_[static_cast<size_t>(trials[i]->kind)];
      const double us = first->candidates[i + 1].microseconds;
      note(*trials[i], us > 0 ? fmt::format("{:+.2f} % at a first look", (us / own - 1) * 100)
                              : "does not run there");
      if (us > 0 && us < own * (1 - kPromising)) promising.emplace_back(us, trials[i]);
    }
    std::stable_sort(promising.begin(), promising.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (const auto& [us, trial] : promising)
      if (!by_turns(*trial)) return;
  }
  // False: the budget ended.
  bool by_turns(const Trial& trial) {
    StepChoices variant = trial.on(now_);
    if (alike(variant, now_)) return true;  // a wider one has done it
    const Timing* const timing = time({now_, variant});
    if (!timing) return false;
    ++duels_;
    const std::string times =
        fmt::format("{:.1f} us, not {:.1f}", timing->candidates[1].microseconds,
                    timing->candidates[0].microseconds);
    if (timing->winner != 1) {
      note(trial,
           times + ": not kept" + (timing->unstable.empty() ? "" : " (" + timing->unstable + ")"));
      return true;
    }
    note(trial, times + ": kept");
    lines_.push_back(
        fmt::format("kept in the plan{}: {} of {}: {}", place_, trial.what, trial.subject, times));
    now_ = std::move(variant);
    ++kept_;
    return true;
  }
  void note(const Trial& trial, const std::string& said) {
    for (const size_t step : trial.steps)
      plan_.steps[step].trials.push_back(
          fmt::format("in the plan{}, {} of {}: {}", place_, trial.what, trial.subject, said));
  }

  // All that was kept, beside the plan as it was.
  void keep() {
    if (timed_ > 0) deadline_ = Clock::time_point::max();  // a moment more, for the answer
    const Timing* timing = nullptr;
    attempt([&] { timing = time({own_, now_}); });
    if (timing) {
      before_ = timing->candidates[0].microseconds;
      after_ = timing->candidates[1].microseconds;
    }
    if (!timing || timing->winner != 1) {
      lines_.push_back(
          fmt::format("kept in the plan{}: nothing, as all together was no faster", place_));
      now_ = own_;
      after_ = before_;
      return;
    }
    const Ranges when = interval();
    for (size_t i = 0; i < now_.size(); ++i) {
      if (same(now_[i], own_[i])) continue;
      std::vector<KernelChoice>& choices = plan_.steps[i].choices;
      now_[i].when = when;
      if (when.empty())
        choices.back() = now_[i];
      else
        choices.insert(choices.begin(), now_[i]);
      ++changed_;
    }
  }
  // Empty: everywhere.
  Ranges interval() const {
    Ranges out = jobs_.points[point_].when;
    for (const PlanSymbol& s : plan_.symbols)
      if (const auto at = out.find(s.name);
          at != out.end() && at->second.low <= s.min && s.max <= at->second.high)
        out.erase(at);
    return out;
  }

  void tell(double seconds) {
    const size_t tried = tried_[0] + tried_[1] + tried_[2];
    if (tried > 0)
      account_.push_back(
          fmt::format("judged in the plan{}: {} edges, {} divisions of memory, {} other kernels "
                      "and tactics, of "
                      "which {} by turns; {} times taken in {:.1f} s; {} steps changed: {:.1f} us, "
                      "before {:.1f}",
                      place_, tried_[0], tried_[1], tried_[2], duels_, timed_, seconds, changed_,
                      after_, before_));
    if (ended_)
      account_.push_back(fmt::format("not {} in the plan{} within the budget",
                                     tried > 0 ? "all was judged" : "judged", place_));
    account_.insert(account_.end(), lines_.begin(), lines_.end());
  }

  Plan& plan_;
  PlanJobs& jobs_;
  size_t point_;  // of the jobs'
  PlanStand& stand_;
  TimingCache& cache_;
  std::vector<std::string>& account_;
  Bindings symbols_;
  Clock::time_point deadline_;
  std::string place_;      // " at N=8"; empty: everywhere
  StepChoices own_, now_;  // as tuned, and with what is kept
  std::string text_;       // of the plan without its choices
  size_t kept_ = 0, changed_ = 0, tried_[3] = {}, duels_ = 0, timed_ = 0;
  bool ended_ = false;
  double before_ = 0, after_ = 0;
  std::vector<std::string> lines_;
};

}  // namespace

void judge_in_plan(Plan& plan, TuningDevice& device, PlanStand& stand, const TuneOptions& options,
                   TimingCache& cache, std::vector<std::string>& account) {
  if (std::any_of(plan.steps.begin(), plan.steps.end(),
                  [](const Step& step) { return step.kind != Step::Kind::launch; })) {
    account.push_back("not judged in the plan: some of its steps are no launches");
    return;
  }
  PlanJobs jobs = jobs_of(plan, device);
  const Clock::time_point deadline =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(
                         std::chrono::duration<double>(options.budget_seconds));
  std::vector<size_t> order;
  for (size_t p = 0; p < jobs.points.size(); ++p)
    if (jobs.points[p].set == 0) order.push_back(p);
  std::stable_partition(order.begin(), order.end(), [&](size_t p) { return jobs.points[p].opt; });
  for (const size_t point : order) Judge(plan, jobs, point, stand, deadline, cache, account).run();
}

}  // namespace vitrail
