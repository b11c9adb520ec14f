// SPDX-License-Identifier: Apache-2.0
#include "compile/versus.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/hash.h"
#include "compile/jobs.h"

namespace vitrail {
namespace {

using Clock = std::chrono::steady_clock;

// Tuning found up to a third over the heuristic choice; beyond twice that nothing is timed further.
constexpr double kHopeless = 1.67;
constexpr int kRounds = 5;

// What one plan does at a tuned point that the other does not.
struct Extra {
  Job* job = nullptr;
  int times = 0;
};
using Extras = std::map<std::string, Extra>;

// Steps that no timing tells of: host ops, branches, loops, launches of extents that data decide.
std::multiset<std::string> untimed(const Plan& plan, const PlanJobs& jobs, size_t point) {
  std::multiset<std::string> out;
  for_each_step(plan.steps, [&](const Step& step) {
    if (step.kind != Step::Kind::launch) {
      std::string text = step.domain + "." + step.op;
      for (int v : step.outputs)
        if (v >= 0) text += to_string(plan.values[static_cast<size_t>(v)].dims);
      out.insert(std::move(text));
    } else if (jobs.keys.at(&step)[point].empty()) {
      out.insert(step.problem.str());
    }
  });
  return out;
}

class Comparison {
 public:
  Comparison(const Plan& first, Plan& second, TuningDevice& device, const TuneOptions& options,
             TimingCache& cache)
      : first_(first),
        second_(second),
        device_(device),
        cache_(cache),
        deadline_(Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                     std::chrono::duration<double>(options.budget_seconds))),
        ours_(jobs_of(first, device)),
        theirs_(jobs_of(second, device)) {}

  Versus run() {
    const auto& points = ours_.points;
    opt_ = static_cast<size_t>(
        std::find_if(points.begin(), points.end(), [](const TunedPoint& p) { return p.opt; }) -
        points.begin());
    for (size_t p = 0; p < points.size(); ++p) {
      own_.push_back(extras(ours_, theirs_, p));
      other_.push_back(extras(theirs_, ours_, p));
      if (untimed(first_, ours_, p) != untimed(second_, theirs_, p)) return {};
    }
    for (Extras& list : own_)
      if (!all_known(list)) return {};
    out_.first_us = sum(own_[opt_]);
    const std::string key = text();
    if (const Timing* known = cache_.find(key); known && known->candidates.size() == 2) {
      out_ = {true, known->winner == 1, known->candidates[0].microseconds,
              known->candidates[1].microseconds, known->unstable};
      if (out_.faster) tune_second();
      return out_;
    }
    out_.second_us = least_time();
    if (out_.second_us >= out_.first_us) return lost("by FLOP and bytes alone");
    if (late() || !timed()) return {};
    cache_.add(key, {.candidates = {{"these steps", {}, out_.first_us},
                                    {"the others", {}, out_.second_us}},
                     .winner = out_.faster ? size_t{1} : size_t{0},
                     .unstable = out_.why});
    return out_;
  }

 private:
  bool late() const { return Clock::now() >= deadline_; }
  Versus lost(std::string why) {
    out_.known = true;
    out_.why = std::move(why);
    return out_;
  }

  static Extras extras(PlanJobs& mine, const PlanJobs& others, size_t point) {
    Extras out;
    for (const auto& [step, keys] : mine.keys)
      if (!keys[point].empty()) {
        Extra& extra = out[keys[point]];
        extra.job = &mine.jobs.at(keys[point]);
        ++extra.times;
      }
    for (const auto& [step, keys] : others.keys)
      if (const auto at = out.find(keys[point]); at != out.end() && --at->second.times == 0)
        out.erase(at);
    return out;
  }
  bool all_known(Extras& list) const {
    return std::all_of(list.begin(), list.end(),
                       [&](auto& e) { return from_cache(*e.second.job, cache_); });
  }
  double sum(const Extras& list) const {
    double out = 0;
    for (const auto& [key, extra] : list) {
      const Timing& t = extra.job->timing;
      out += extra.times * (t.candidates[t.winner].microseconds + device_.step_us());
    }
    return out;
  }

  // Everything that the answer depends on, as a key of the cache.
  std::string text() const {
    Hasher hasher;
    const auto add = [&](const std::string& s) {
      hasher.update({reinterpret_cast<const std::byte*>(s.data()), s.size()});
    };
    for (size_t p = 0; p < own_.size(); ++p)
      for (const auto* list : {&own_[p], &other_[p]})
        for (const auto& [key, extra] : *list) {
          add(fmt::format("{}{} x {}", list == &own_[p] ? '-' : '+', extra.times, key));
          for (const TimedCandidate& c : extra.job->candidates) add(c.kernel + to_string(c.tactic));
        }
    add(fmt::format("{} us a step", device_.step_us()));
    return "plans that differ by " + hasher.digest().str();
  }

  double least_time() const {
    double out = 0;
    for (const auto& [key, extra] : other_[opt_])
      out += extra.times * device_.least_us(extra.job->bound);
    return out;
  }

  // One good launch of a job's candidate, a fresh start each time.
  double one(const Plan& plan, const Job& job, size_t candidate) {
    double us = 0;
    try {
      device_.open(job, weights_of(plan, *job.step));
      us = device_.run(candidate);
      us = std::min(us, device_.run(candidate));
    } catch (...) {
      device_.close();
      throw;
    }
    device_.close();
    return us;
  }

  // False when that could not be.
  bool timed() {
    try {
      double heuristic = 0;
      for (auto& [key, extra] : other_[opt_]) {
        if (extra.job->candidates.empty() || late()) return false;
        heuristic +=
            extra.times * (device_.step_us() + (from_cache(*extra.job, cache_)
                                                    ? extra.job->timing.candidates[0].microseconds
                                                    : one(second_, *extra.job, 0)));
      }
      out_.second_us = heuristic;
      if (heuristic > kHopeless * out_.first_us) return lost("with heuristic kernels").known;
      tune_second();
      for (Extras& list : other_)
        if (!all_known(list)) return false;
      out_.second_us = sum(other_[opt_]);
      if (out_.second_us >= out_.first_us) return lost("").known;
      for (size_t p = 0; p < own_.size(); ++p)
        if (sum(other_[p]) > sum(own_[p])) return lost("slower elsewhere in the range").known;
      return take_turns();
    } catch (const Error& error) {
      if (error.code != Code::resource) throw;
      return false;
    }
  }
  void tune_second() {
    std::vector<std::string> unused;
    const double left = std::chrono::duration<double>(deadline_ - Clock::now()).count();
    tune(second_, device_, {.budget_seconds = std::max(left, 0.0), .progress = {}}, cache_, unused);
  }

  bool take_turns() {
    std::vector<std::vector<double>> rounds(2);
    for (int r = 0; r < kRounds; ++r)
      for (int turn : {r % 2, 1 - r % 2}) {
        double us = 0;
        for (const auto& [key, extra] : (turn ? other_ : own_)[opt_]) {
          if (late()) return false;
          us += extra.times * (device_.step_us() +
                               one(turn ? second_ : first_, *extra.job, extra.job->timing.winner));
        }
        rounds[static_cast<size_t>(turn)].push_back(us);
      }
    const Verdict verdict = decide(rounds);
    out_.known = true;
    out_.faster = verdict.winner == 1;
    out_.first_us = median(rounds[0]);
    out_.second_us = median(rounds[1]);
    if (verdict.runner_up)
      out_.why = fmt::format("{:.0f} % faster, but the rounds spread by {:.0f} %",
                             verdict.gain * 100, verdict.spread * 100);
    return true;
  }

  const Plan& first_;
  Plan& second_;
  TuningDevice& device_;
  TimingCache& cache_;
  Clock::time_point deadline_;
  PlanJobs ours_, theirs_;
  size_t opt_ = 0;
  std::vector<Extras> own_, other_;  // at each point
  Versus out_;
};

}  // namespace

Versus compare_plans(const Plan& first, Plan& second, TuningDevice& device,
                     const TuneOptions& options, TimingCache& cache) {
  return Comparison(first, second, device, options, cache).run();
}

}  // namespace vitrail
