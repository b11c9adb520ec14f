// SPDX-License-Identifier: Apache-2.0
#include "compile/tune.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.h"
#include "compile/jobs.h"

namespace vitrail {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kFinalists = 2;
// Rounds of the final: at least and at most, and how long it goes on beyond the least, in seconds.
constexpr int kLeastRounds = 7, kMostRounds = 21;
constexpr double kPatience = 0.06;

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double at = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (at - static_cast<double>(low)) * (values[high] - values[low]);
}

class Tuner {
 public:
  Tuner(Plan& plan, TuningDevice& device, const TuneOptions& options, TimingCache& cache,
        std::vector<std::string>& account)
      : plan_(plan),
        device_(device),
        options_(options),
        cache_(cache),
        account_(account),
        jobs_(jobs_of(plan, device)) {}

  void run() {
    std::vector<Job*> order;
    for (auto& [key, job] : jobs_.jobs) order.push_back(&job);
    std::stable_sort(order.begin(), order.end(), [](const Job* a, const Job* b) {
      return a->opt != b->opt ? a->opt : a->cost > b->cost;
    });
    double total = 0, spent = 0;
    std::vector<const TuningJob*> to_time;
    for (Job* job : order) {
      total += job->cost;
      const bool known = from_cache(*job, cache_);
      cached_ += known;
      if (!known && !job->candidates.empty()) to_time.push_back(job);
    }
    const Clock::time_point start = Clock::now();
    deadline_ = start + std::chrono::duration_cast<Clock::duration>(
                            std::chrono::duration<double>(options_.budget_seconds));
    if (!late()) device_.announce(to_time);
    for (Job* job : order) {
      if (!job->done) time(*job);
      if (options_.progress) options_.progress((spent += job->cost) / std::max(total, 1e-30));
    }
    set_choices();
    tell(order, std::chrono::duration<double>(Clock::now() - start).count());
    if (timed_ + cached_ > 0) device_.sign(plan_);
  }

 private:
  bool late() const { return Clock::now() >= deadline_; }

  void time(Job& job) {
    if (late() || job.candidates.empty()) return;
    std::vector<Entrant> entrants;
    for (size_t i = 0; i < job.candidates.size(); ++i) entrants.push_back({i, {}, {}});
    try {
      device_.open(job, weights_of(plan_, *job.step));
      if (compete(entrants)) judge(job, entrants);
    } catch (const Error& error) {
      if (error.code != Code::resource) throw;
    }
    device_.close();
  }
  struct Entrant {
    size_t candidate;
    std::vector<double> times;
    std::vector<double> screening;
  };

  // Everybody in a few rounds, then the heuristic choice against the best of the others.
  bool compete(std::vector<Entrant>& entrants) {
    const bool slow = device_.run(0) > 5e4;
    if (!rounds(entrants, slow ? 2 : 3)) return false;
    std::vector<size_t> order;
    for (size_t i = 0; i < entrants.size(); ++i) {
      entrants[i].screening = std::exchange(entrants[i].times, {});
      if (i) order.push_back(i);
    }
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return median(entrants[a].screening) < median(entrants[b].screening);
    });
    finalists_ = {0};
    const double own = median(entrants[0].screening);
    for (size_t i = 0; i < std::min(order.size(), kFinalists); ++i)
      if (median(entrants[order[i]].screening) < own) finalists_.push_back(order[i]);
    if (finalists_.size() < 2) return true;
    std::vector<Entrant> last;
    for (size_t i : finalists_) last.push_back(entrants[i]);
    const Clock::time_point start = Clock::now();
    for (int done = 0; done < (slow ? 5 : kMostRounds); done += 2) {
      if (done >= kLeastRounds &&
          std::chrono::duration<double>(Clock::now() - start).count() > kPatience)
        break;
      if (!rounds(last, 2)) return false;
    }
    for (size_t i = 0; i < finalists_.size(); ++i) entrants[finalists_[i]].times = last[i].times;
    return true;
  }
  // Odd rounds go backwards, so that a clock that drifts favours nobody.
  bool rounds(std::vector<Entrant>& entrants, int count) {
    for (int round = 0; round < count; ++round)
      for (size_t i = 0; i < entrants.size(); ++i) {
        if (late()) return false;
        Entrant& e = entrants[round % 2 ? entrants.size() - 1 - i : i];
        e.times.push_back(device_.run(e.candidate));
      }
    return true;
  }

  void judge(Job& job, const std::vector<Entrant>& entrants) {
    job.timing.candidates = job.candidates;
    for (size_t i = 0; i < entrants.size(); ++i) {
      const double us =
          median(entrants[i].times.empty() ? entrants[i].screening : entrants[i].times);
      job.timing.candidates[i].microseconds = std::isfinite(us) ? us : 0;
    }
    std::vector<std::vector<double>> table;
    for (size_t i : finalists_) table.push_back(entrants[i].times);
    if (finalists_.size() > 1) {
      const Verdict verdict = decide(table);
      job.timing.winner = finalists_[verdict.winner];
      if (verdict.runner_up) {
        const TimedCandidate& c = job.candidates[finalists_[verdict.runner_up]];
        job.timing.unstable =
            fmt::format("{} was {:.0f} % faster, but the rounds spread by {:.0f} %", describe(c),
                        verdict.gain * 100, verdict.spread * 100);
      }
    }
    job.done = true;
    ++timed_;
    cache_.add(job.key, job.timing);
  }

  static std::string describe(const TimedCandidate& c) {
    return c.tactic.empty() ? c.kernel : c.kernel + " " + to_string(c.tactic);
  }

  void set_choices() {
    for_each_step(plan_.steps, [&](Step& step) {
      const auto keys = jobs_.keys.find(&step);
      if (keys == jobs_.keys.end()) return;
      std::vector<KernelChoice> chosen;
      bool any = false;
      for (size_t p = 0; p < jobs_.points.size(); ++p) {
        const std::string& key = keys->second[p];
        const Job* job = key.empty() ? nullptr : &jobs_.jobs.at(key);
        KernelChoice& choice = chosen.emplace_back();
        if (!job || job->candidates.empty()) continue;
        const TimedCandidate& c =
            job->done ? job->timing.candidates[job->timing.winner] : job->candidates[0];
        choice = {
            .when = {}, .kernel = c.kernel, .tactic = c.tactic, .microseconds = c.microseconds};
        any |= job->done;
        if (job->done) trials(step, jobs_.points[p], *job);
      }
      if (!any || std::any_of(chosen.begin(), chosen.end(),
                              [](const KernelChoice& c) { return c.kernel.empty(); }))
        return;
      step.choices = merge_choices(jobs_.points, chosen, symbols_of(step.problem));
    });
  }
  void trials(Step& step, const TunedPoint& point, const Job& job) {
    std::string at;
    for (const std::string& name : symbols_of(step.problem))
      at += fmt::format("{}{}={}", at.empty() ? " at " : ", ", name, point.at.at(name));
    for (size_t i = 0; i < job.timing.candidates.size(); ++i) {
      const TimedCandidate& c = job.timing.candidates[i];
      std::string line =
          c.microseconds > 0
              ? fmt::format("{}{}: {:.{}f} us{}", describe(c), at, c.microseconds,
                            c.microseconds < 10 ? 2 : 1, i == job.timing.winner ? ", chosen" : "")
              : fmt::format("{}{}: does not run there", describe(c), at);
      if (std::find(step.trials.begin(), step.trials.end(), line) == step.trials.end())
        step.trials.push_back(std::move(line));
    }
  }

  void tell(const std::vector<Job*>& order, double seconds) {
    size_t other = 0, left = 0;
    std::vector<std::string> lines;
    for (const Job* job : order) {
      other += job->done && job->timing.winner > 0;
      left += !job->done && !job->candidates.empty();
      if (job->done && !job->timing.unstable.empty())
        lines.push_back(fmt::format("unstable timing of '{}': {}: the heuristic choice stays",
                                    printable(job->step->name), job->timing.unstable));
    }
    account_.push_back(
        fmt::format("tuned for {}: {} problems, {} timed in {:.1f} s, {} from the cache; "
                    "{} run another kernel or tactic than the heuristic one",
                    device_.name(), order.size(), timed_, seconds, cached_, other));
    if (left)
      account_.push_back(fmt::format(
          "{} problems were not timed within the budget of {} s and keep their heuristic choice",
          left, options_.budget_seconds));
    account_.insert(account_.end(), lines.begin(), lines.end());
  }

  Plan& plan_;
  TuningDevice& device_;
  const TuneOptions& options_;
  TimingCache& cache_;
  std::vector<std::string>& account_;
  PlanJobs jobs_;
  Clock::time_point deadline_;
  std::vector<size_t> finalists_;
  size_t timed_ = 0, cached_ = 0;
};

}  // namespace

double median(std::vector<double> values) { return quantile(std::move(values), 0.5); }

Verdict decide(const std::vector<std::vector<double>>& rounds, double least_gain) {
  Verdict out;
  double best = least_gain, almost = least_gain;
  for (size_t c = 1; c < rounds.size(); ++c) {
    std::vector<double> ratios;
    for (size_t r = 0; r < rounds[c].size(); ++r) ratios.push_back(rounds[c][r] / rounds[0][r]);
    const double gain = 1 - median(ratios),
                 spread = quantile(ratios, 0.75) - quantile(ratios, 0.25);
    if (gain > spread && gain > best) {
      out.winner = c;
      best = gain;
    } else if (gain <= spread && gain > almost) {
      out.runner_up = c;
      out.gain = almost = gain;
      out.spread = spread;
    }
  }
  if (out.winner) out = {.winner = out.winner};
  return out;
}

void tune(Plan& plan, TuningDevice& device, const TuneOptions& options, TimingCache& cache,
          std::vector<std::string>& account) {
  Tuner(plan, device, options, cache, account).run();
}

}  // namespace vitrail
