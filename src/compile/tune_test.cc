// SPDX-License-Identifier: Apache-2.0
#include "compile/tune.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "compile/choices.h"
#include "compile/compile.h"
#include "ir/text.h"
#include "plan/plan_file.h"
#include "runtime/executor.h"

namespace vitrail {
namespace {

namespace fs = std::filesystem;

class Tune : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() /
              fmt::format("vitrail_tune_{}_{}", getpid(),
                          testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
    set_log_sink([this](LogLevel, std::string_view text) { log_ += std::string(text) + "\n"; });
  }
  void TearDown() override {
    set_log_sink({});
    fs::remove_all(folder_);
  }
  std::string path(const char* name) const { return (folder_ / name).string(); }
  fs::path folder_;
  std::string log_;
};

Timing some_timing(double us) {
  return {{{"gemm_f32_avx2", {}, us}, {"gemm_f32_avx2", {{"rows", 12}, {"cols", 64}}, us / 2}},
          1,
          "said \"so\""};
}

TEST_F(Tune, CacheKeepsTimingsByMachineAndProblem) {
  {
    TimingCache cache(path("c"), "this machine");
    cache.add("gemm(...)", some_timing(3));
    cache.save();
  }
  TimingCache same(path("c"), "this machine"), other(path("c"), "another");
  ASSERT_NE(same.find("gemm(...)"), nullptr);
  EXPECT_EQ(*same.find("gemm(...)"), some_timing(3));
  EXPECT_EQ(same.find("conv(...)"), nullptr);
  EXPECT_EQ(other.find("gemm(...)"), nullptr);
  EXPECT_EQ(log_, "");
}

TEST_F(Tune, ADamagedCacheIsAWarningAndIsWrittenAnew) {
  for (const char* text : {"", "{", "[]", "{\"vitrail_timing_cache\": 99, \"machines\": {}}",
                           "{\"vitrail_timing_cache\": 1, \"machines\": {\"m\": {\"p\": "
                           "{\"tried\": [], \"winner\": 0}}}}",
                           "{\"vitrail_timing_cache\": 1, \"machines\": {\"m\": {\"p\": "
                           "{\"tried\": 7, \"winner\": -1}}}}"}) {
    log_.clear();
    std::ofstream(path("c"), std::ios::trunc) << text;
    TimingCache cache(path("c"), "m");
    EXPECT_NE(log_.find("is ignored"), std::string::npos) << text;
    EXPECT_EQ(cache.find("p"), nullptr);
    cache.add("p", some_timing(1));
    cache.save();
    log_.clear();
    EXPECT_NE(TimingCache(path("c"), "m").find("p"), nullptr) << text;
    EXPECT_EQ(log_, "") << text;
  }
}

TEST_F(Tune, ACacheThatCannotBeIsNamedBeforeAnythingIsTimed) {
  try {
    const TimingCache cache(path("no/such/c"), "m");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, Code::io);
    EXPECT_NE(std::string(error.what()).find("folder does not exist"), std::string::npos);
  }
  EXPECT_THROW(TimingCache(folder_.string(), "m"), Error);
}

TEST_F(Tune, BuildsThatRunAtOnceKeepEachOthersTimings) {
  constexpr int kBuilds = 8;
  std::vector<std::thread> builds;
  for (int b = 0; b < kBuilds; ++b)
    builds.emplace_back([&, b] {
      TimingCache cache(path("c"), "m");
      cache.add(fmt::format("problem {}", b), some_timing(b));
      cache.save();
    });
  for (std::thread& t : builds) t.join();
  const TimingCache all(path("c"), "m");
  for (int b = 0; b < kBuilds; ++b) EXPECT_NE(all.find(fmt::format("problem {}", b)), nullptr) << b;
}

TEST_F(Tune, OnlyAGainBeyondTheSpreadWins) {
  // 10 % faster in every round although the rounds themselves vary twofold.
  EXPECT_EQ(decide({{100, 200, 100, 200, 100}, {90, 180, 91, 179, 90}}).winner, 1u);
  // 10 % faster by the median, but rounds disagree.
  const Verdict noisy = decide({{100, 100, 100, 100, 100}, {90, 70, 130, 85, 120}});
  EXPECT_EQ(noisy.winner, 0u);
  EXPECT_EQ(noisy.runner_up, 1u);
  EXPECT_NEAR(noisy.gain, 0.10, 1e-9);
  EXPECT_NEAR(noisy.spread, 0.35, 1e-9);
  // Steady, but not worth a change; and slower.
  EXPECT_EQ(decide({{100, 100, 100}, {99, 99, 99}}).runner_up, 0u);
  EXPECT_EQ(decide({{100, 100, 100}, {120, 120, 120}}).winner, 0u);
  // The best of several.
  EXPECT_EQ(decide({{100, 100, 100}, {90, 90, 90}, {80, 80, 80}}).winner, 2u);
}

Plan ranged(int64_t min, int64_t opt, int64_t max) {
  Plan plan;
  plan.symbols = {{.name = "N", .min = min, .opt = opt, .max = max}};
  return plan;
}

TEST_F(Tune, PointsCoverARangeWithoutGapOrOverlap) {
  EXPECT_EQ(tuned_points(Plan()).size(), 1u);
  EXPECT_TRUE(tuned_points(Plan())[0].opt);
  for (const auto& [min, opt, max] : {std::tuple{1, 1, 32},
                                      {1, 16, 32},
                                      {1, 2, 2},
                                      {1, 1, 2},
                                      {7, 7, 7},
                                      {40, 64, 512},
                                      {1, 3, 1000}}) {
    const auto points = tuned_points(ranged(min, opt, max));
    int64_t next = min;
    int opts = 0;
    for (const TunedPoint& p : points) {
      const Interval when = p.when.at("N");
      EXPECT_EQ(when.low, next) << min << ".." << opt << ".." << max;
      EXPECT_LE(when.low, p.at.at("N"));
      EXPECT_GE(when.high, p.at.at("N"));
      next = when.high + 1;
      opts += p.opt;
      EXPECT_EQ(p.opt, p.at.at("N") == opt);
    }
    EXPECT_EQ(next, max + 1) << min << ".." << opt << ".." << max;
    EXPECT_EQ(opts, 1);
  }
  // 1, 6 (between), 32; the limits are sqrt(6) and sqrt(6 * 32), rounded.
  const auto points = tuned_points(ranged(1, 1, 32));
  ASSERT_EQ(points.size(), 3u);
  EXPECT_EQ(points[1].at.at("N"), 6);
  EXPECT_EQ(points[1].when.at("N"), (Interval{3, 14}));
}

TEST_F(Tune, PointsOfTwoSymbolsLieOnOneLine) {
  Plan plan;
  plan.symbols = {{.name = "H", .min = 8, .opt = 64, .max = 64},
                  {.name = "W", .min = 16, .opt = 16, .max = 64}};
  const auto points = tuned_points(plan);
  EXPECT_EQ(points.front().at, (Bindings{{"H", 8}, {"W", 16}}));
  EXPECT_EQ(points.back().at, (Bindings{{"H", 64}, {"W", 64}}));
  for (const TunedPoint& p : points) {
    EXPECT_LE(p.when.at("H").low, p.at.at("H"));
    EXPECT_GE(p.when.at("H").high, p.at.at("H"));
  }
  // W is 16 at opt and below: the points share its interval.
  EXPECT_EQ(points[0].when.at("W"), points[1].when.at("W"));
}

TEST_F(Tune, ChoicesThatAgreeAreMerged) {
  const auto points = tuned_points(ranged(1, 16, 256));
  ASSERT_EQ(points.size(), 5u);  // 1, 4, 16, 64, 256
  const KernelChoice own{.when = {}, .kernel = "a", .tactic = {}},
      other{.when = {}, .kernel = "a", .tactic = {{"rows", 4}}};
  const auto none = merge_choices(points, {own, own, own, own, own}, {"N"});
  ASSERT_EQ(none.size(), 1u);
  EXPECT_TRUE(none[0].when.empty());
  const auto large = merge_choices(points, {own, own, own, other, other}, {"N"});
  ASSERT_EQ(large.size(), 2u);
  EXPECT_EQ(large[0].tactic, other.tactic);
  EXPECT_EQ(large[0].when.at("N"), (Interval{points[3].when.at("N").low, 256}));
  EXPECT_TRUE(large[1].when.empty());
  // A problem without the symbol has one answer.
  EXPECT_TRUE(merge_choices(points, {own, own, own, own, own}, {})[0].when.empty());
}

constexpr const char* kModel = R"(graph "small" (x: f32[N,48,40]) -> (y) {
  symbol N input 1..8
  const s: f32[40] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1}
  t: f32[N,40,48] = Transpose(x) {perm: i[0, 2, 1]} @"turn"
  m: f32[N,48,48] = MatMul(x, t) @"product"
  r: f32[N,48,48] = Relu(m) @"act"
  z: f32[N,48,40] = MatMul(r, x) @"back"
  y: f32[N,48,40] = Mul(z, s) @"scale"
})";

BuildOptions options(int threads = 2) {
  BuildOptions out;
  out.shapes["x"] = {{1, 48, 40}, {1, 48, 40}, {8, 48, 40}};
  out.threads = threads;
  return out;
}

Plan build(const BuildOptions& with, BuildReport* report = nullptr) {
  BuildReport own;
  return build_plan(ir::parse(kModel), with, report ? *report : own);
}

TEST_F(Tune, EveryLaunchGetsItsTimedChoice) {
  const Plan plan = build(options());
  for_each_step(plan.steps, [](const Step& s) {
    if (s.kind != Step::Kind::launch) return;
    ASSERT_FALSE(s.choices.empty()) << s.name;
    EXPECT_TRUE(s.choices.back().when.empty());
    EXPECT_GT(s.choices.back().microseconds, 0) << s.name;
    EXPECT_FALSE(s.trials.empty());
    for (const KernelChoice& c : s.choices)
      EXPECT_LE(find_cpu_kernel(c.kernel)->isa, this_machine().isa);
  });
  EXPECT_EQ(plan.tuned_threads, 2);
  save_plan(path("p"), plan);
  const auto loaded = load_plan_file(path("p")).target("cpu");
  EXPECT_EQ(loaded->tuned_isa, plan.tuned_isa);
  EXPECT_EQ(loaded->tuned_threads, 2);
  EXPECT_EQ(loaded->steps[0].trials, plan.steps[0].trials);
  EXPECT_EQ(loaded->steps[0].choices[0].microseconds, plan.steps[0].choices[0].microseconds);
}

TEST_F(Tune, AWarmCacheAnswersWithoutTimingAndGivesTheSamePlan) {
  BuildOptions with = options();
  with.timing_cache = path("c");
  const Plan first = build(with);
  with.budget_seconds = 0;
  BuildReport report;
  const Plan second = build(with, &report);
  ASSERT_EQ(first.steps.size(), second.steps.size());
  for (size_t i = 0; i < first.steps.size(); ++i) {
    ASSERT_EQ(first.steps[i].choices.size(), second.steps[i].choices.size());
    EXPECT_EQ(first.steps[i].trials, second.steps[i].trials);
  }
  std::string account;
  for (const std::string& line : report.lines) account += line + "\n";
  EXPECT_NE(account.find(" 0 timed"), std::string::npos) << account;
  // Other workers: other timings.
  with.threads = 1;
  for (const Step& s : build(with).steps) EXPECT_TRUE(s.choices.empty());
}

TEST_F(Tune, WithoutBudgetTheHeuristicChoicesStay) {
  BuildOptions with = options();
  with.budget_seconds = 0;
  BuildReport report;
  const Plan plan = build(with, &report);
  for (const Step& s : plan.steps) EXPECT_TRUE(s.choices.empty());
  EXPECT_EQ(plan.tuned_for, "");
  EXPECT_EQ(plan.tuned_isa, -1);
  EXPECT_NE(report.lines.back().find("not timed within the budget of 0 s"), std::string::npos)
      << report.lines.back();
}

TEST_F(Tune, DeterministicBuildsGiveTheSameBytesAndResults) {
  BuildOptions with = options();
  with.deterministic = true;
  std::string bytes[2];
  for (int i = 0; i < 2; ++i) {
    save_plan(path("p"), build(with));
    bytes[i] = read_file(path("p"), 1 << 20);
  }
  EXPECT_EQ(bytes[0], bytes[1]);
  const auto plan = load_plan_file(path("p")).target("cpu");
  for (const Step& s : plan->steps) EXPECT_TRUE(s.choices.empty());

  // One image alone, and as the last of a batch; with one worker, and two.
  Tensor batch(DType::f32, {8, 48, 40});
  auto* data = static_cast<float*>(batch.mutable_raw());
  for (int64_t i = 0; i < batch.size(); ++i)
    data[i] = static_cast<float>((i * 7919) % 1009) / 1009.0f;
  Tensor one(DType::f32, {1, 48, 40});
  std::memcpy(one.mutable_raw(), data + 7 * 48 * 40, one.bytes());
  std::vector<Tensor> results;
  for (int threads : {1, 2})
    for (const Tensor* in : {&batch, &one}) {
      Executor executor(plan, {.threads = threads});
      executor.set_input(0, *in);
      executor.run();
      results.push_back(executor.output(0));
    }
  EXPECT_EQ(std::memcmp(results[0].raw(), results[2].raw(), results[0].bytes()), 0);
  for (size_t i : {1u, 3u})
    EXPECT_EQ(std::memcmp(results[i].raw(),
                          static_cast<const float*>(results[0].raw()) + 7 * 48 * 40, one.bytes()),
              0);
}

TEST_F(Tune, ChoicesHoldForTheLevelAndWorkersTheyWereMadeFor) {
  Plan plan = build(options());
  Step& step = plan.steps[0];
  const std::string best = step.choices[0].kernel;
  step.choices = {{.when = {}, .kernel = best, .tactic = {{"rows", 1}}, .microseconds = 1}};
  const auto tasks = [&](const Plan& p, int threads) {
    Executor executor(std::make_shared<const Plan>(p), {.threads = threads});
    const Tensor in(DType::f32, {1, 48, 40});
    executor.set_input(0, in);
    executor.bind();
    return executor.bound_step(0)->launch.tasks;
  };
  const int64_t timed = tasks(plan, 2);
  EXPECT_GT(timed, tasks(plan, 1)) << "the tactic was timed with two workers";
  plan.tuned_isa = static_cast<int>(this_machine().isa) - 1;  // this level was not tuned
  if (plan.tuned_isa >= 0) {
    EXPECT_LT(tasks(plan, 2), timed);
  }
}

TEST_F(Tune, ATacticOutOfBoundsIsRefused) {
  Plan plan = build(options());
  for (const int64_t value : {int64_t{-1}, INT64_MAX}) {
    plan.steps[0].choices[0].tactic = {{"rows", value}};
    EXPECT_THROW(Executor(std::make_shared<const Plan>(plan)), Error);
  }
}

}  // namespace
}  // namespace vitrail
