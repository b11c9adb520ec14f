// SPDX-License-Identifier: Apache-2.0
// What is made of a whole plan's times, which a made clock gives: no device is needed.
#include "compile/judge.h"

#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "base/error.h"
#include "compile/choices.h"
#include "compile/compile.h"
#include "compile/gpu_plan.h"
#include "compile/gpu_plan_stand.h"
#include "ir/text.h"
#include "passes/pipeline.h"

namespace vitrail {
namespace {

// Two products and a softmax between them, of fixed extents or for a range.
Plan gpu_plan(const GpuTarget& target, const KernelSet& kernels, bool range) {
  BuildOptions options;
  options.shapes["x"] = {{range ? 1 : 2, 64, 64}, {2, 64, 64}, {range ? 64 : 2, 64, 64}};
  ir::Graph graph = ir::parse(R"(graph "small" (x: f32[N,64,64], w: f32[64,64]) -> (y) {
    symbol N input 1..64
    a: f32[N,64,64] = MatMul(x, w) @"first"
    s: f32[N,64,64] = Softmax(a) {axis: -1} @"soft"
    b: f32[N,64,64] = MatMul(s, w) @"second"
    y: f32[64,N,64] = Transpose(b) {perm: i[1, 0, 2]} @"turn"
  })");
  const Bindings opt = apply_shapes(graph, options.shapes);
  graph.infer_all();
  passes::run(graph, {.disabled = {}, .observe = {}});
  std::vector<std::string> account;
  Plan plan = make_plan(graph, opt, options, kernels, account, &target);
  choose_gpu_kernels(plan, target, kernels);
  return plan;
}

// Alone, every second candidate is a little slower than the first.
class Alone : public TuningDevice {
 public:
  Alone(const GpuMachine& machine, const KernelSet& kernels)
      : machine_(machine), kernels_(kernels) {}
  std::string name() const override { return "a made device"; }
  std::vector<TimedCandidate> candidates(const Problem& problem,
                                         const BoundProblem& bound) override {
    std::vector<TimedCandidate> out;
    for (const GpuKernel* kernel : kernels_.gpu)
      if (problem.family == kernel->family && kernel->accepts(problem, machine_).empty())
        for (const Tactic& tactic : kernel->tactics(bound, machine_))
          if (out.size() < 3) out.push_back({kernel->name, tactic, 0});
    return out;
  }
  double estimate(const BoundProblem&) const override { return 1e-6; }
  void open(const TuningJob&, const std::vector<Tensor>&) override {}
  double run(size_t candidate) override { return times.at(candidate); }
  void close() override {}
  void sign(Plan&) const override {}
  std::vector<double> times = {10, 10.5, 20};

 private:
  const GpuMachine& machine_;
  const KernelSet& kernels_;
};

// A plan takes what `cost` says of each of its steps, and some noise.
class MadeStand : public PlanStand {
 public:
  using Cost = std::function<double(const Step&, const KernelChoice&)>;
  explicit MadeStand(Cost made) : cost(std::move(made)) {}
  void open(const Plan& plan, const Bindings& at,
            const std::vector<StepChoices>& variants) override {
    n = at.contains("N") ? at.at("N") : 0;
    if (refuses) fail(Code::resource, "too small");
    ++opened;
    totals_.clear();
    for (const StepChoices& variant : variants) {
      ASSERT_EQ(variant.size(), plan.steps.size());
      double& total = totals_.emplace_back();
      for (size_t i = 0; i < variant.size(); ++i) total += cost(plan.steps[i], variant[i]);
    }
  }
  double run(size_t variant) override {
    ++runs;
    if (slow) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const double noisy = runs % 3 == 0 ? 1 + noise : runs % 3 == 1 ? 1 - noise : 1;
    return totals_.at(variant) * noisy;
  }
  void close() override {}
  Cost cost;
  int64_t n = 0;  // the extent at which the plan is open
  int opened = 0, runs = 0;
  double noise = 0;
  bool refuses = false, slow = false;

 private:
  std::vector<double> totals_;
};

class JudgeInPlan : public testing::Test {
 protected:
  Plan tuned(bool range = false) {
    Plan plan = gpu_plan(target_, kernels_, range);
    std::vector<std::string> unused;
    tune(plan, alone_, {}, cache_, unused);
    return plan;
  }
  void judge(Plan& plan, MadeStand& stand, double budget = 60) {
    std::vector<std::string> account;
    judge_in_plan(plan, alone_, stand, {.budget_seconds = budget, .progress = {}}, cache_, account);
    told_.clear();
    for (const std::string& line : account) told_ += line + "\n";
  }
  static std::vector<const Step*> products(const Plan& plan) {
    std::vector<const Step*> out;
    for (const Step& s : plan.steps)
      if (s.problem.family == "gemm") out.push_back(&s);
    return out;
  }
  static size_t count(const Plan& plan, bool (*is)(const KernelChoice&)) {
    size_t out = 0;
    for (const Step& s : plan.steps)
      for (const KernelChoice& c : s.choices) out += is(c);
    return out;
  }
  static bool full(const KernelChoice& c) { return c.full_edge; }
  static bool shared(const KernelChoice& c) { return c.division == Division::shared; }
  static std::string text(const Plan& plan) {
    std::string out;
    for (const Step& s : plan.steps) {
      for (const KernelChoice& c : s.choices) out += text_of(c) + to_string(c.when) + "\n";
      for (const std::string& line : s.trials) out += line + "\n";
    }
    return out;
  }
  static std::string to_string(const Ranges& when) {
    std::string out;
    for (const auto& [name, range] : when)
      out += fmt::format(" {} {}..{}", name, range.low, range.high);
    return out;
  }
  bool tells(const std::string& what) const { return told_.find(what) != std::string::npos; }

  GpuTarget target_{
      .machine = typical_gpu(90), .storage = DType::f32, .tf32 = false, .cache_folder = {}};
  KernelSet kernels_;
  Alone alone_{target_.machine, kernels_};
  TimingCache cache_{{}, "made"};
  std::string told_;
};

TEST_F(JudgeInPlan, EdgesAndDivisionsThatWinAreKept) {
  Plan plan = tuned();
  ASSERT_EQ(products(plan).size(), 2u);
  MadeStand stand([](const Step& step, const KernelChoice& c) {
    const bool product = step.problem.family == "gemm";
    return 100.0 + (c.full_edge ? (product ? -8 : 3) : 0) +
           (c.division == Division::shared ? (product ? 5 : -4) : 0);
  });
  judge(plan, stand);
  for (const Step& s : plan.steps) {
    ASSERT_EQ(s.choices.size(), 1u);
    const bool product = s.problem.family == "gemm";
    EXPECT_EQ(s.choices[0].full_edge, product) << s.name << "\n" << told_;
    EXPECT_EQ(s.choices[0].division == Division::shared, !product) << s.name << "\n" << told_;
  }
  const double before = 100.0 * static_cast<double>(plan.steps.size()),
               after = before - 16 - 4 * static_cast<double>(plan.steps.size() - 2);
  EXPECT_TRUE(tells(fmt::format("{:.1f} us, before {:.1f}", after, before))) << told_;
  EXPECT_TRUE(tells("kept in the plan: full edge of ")) << told_;
  EXPECT_NE(text(plan).find("in the plan, full edge of all of gemm_cuda_mma: "), std::string::npos)
      << text(plan);
}

TEST_F(JudgeInPlan, WhatDoesNotWinLeavesThePlanAsItWas) {
  Plan plan = tuned();
  MadeStand worse([](const Step&, const KernelChoice& c) {
    return 100.0 + c.full_edge + (c.division == Division::shared) +
           (c.microseconds > 10.1 ? 1.0 : 0);
  });
  judge(plan, worse);
  EXPECT_EQ(count(plan, full) + count(plan, shared), 0u);
  EXPECT_TRUE(tells("0 steps changed")) << told_;
}

TEST_F(JudgeInPlan, NoiseDecidesNothing) {
  Plan plan = tuned();
  MadeStand noisy([](const Step&, const KernelChoice& c) { return c.full_edge ? 99.0 : 100.0; });
  noisy.noise = 0.1;
  judge(plan, noisy);
  EXPECT_EQ(count(plan, full), 0u) << told_;
}

TEST_F(JudgeInPlan, AKernelThatIsBetterAmongOthersReplacesTheFaster) {
  Plan plan = tuned();
  MadeStand stand([](const Step& step, const KernelChoice& c) {
    if (step.problem.family != "gemm") return 10.0;
    return c.microseconds == 10.5 ? 9.0 : c.microseconds == 20 ? 1.0 : 10.0;
  });
  judge(plan, stand);
  // The third would be best of all, but was far behind when it was timed alone.
  for (const Step* s : products(plan)) EXPECT_EQ(s->choices.back().microseconds, 10.5) << told_;
  EXPECT_TRUE(tells("other kernels and tactics")) << told_;
}

TEST_F(JudgeInPlan, TheHeuristicChoiceIsTriedHoweverItDidAlone) {
  alone_.times = {30, 10, 20};
  Plan plan = tuned();
  for (const Step* s : products(plan)) EXPECT_EQ(s->choices.back().microseconds, 10);
  MadeStand stand([](const Step& step, const KernelChoice& c) {
    return step.problem.family == "gemm" && c.microseconds == 30 ? 9.0 : 10.0;
  });
  judge(plan, stand);
  for (const Step* s : products(plan)) EXPECT_EQ(s->choices.back().microseconds, 30) << told_;
}

TEST_F(JudgeInPlan, TheCacheAnswersAgain) {
  const auto cost = [](const Step& step, const KernelChoice& c) {
    return 100.0 + (c.full_edge ? (step.problem.family == "gemm" ? -8 : 3) : 0);
  };
  Plan plan = tuned();
  MadeStand stand(cost);
  judge(plan, stand);
  EXPECT_GT(stand.opened, 2);
  Plan again = tuned();
  MadeStand unused(cost);
  judge(again, unused, 0);
  EXPECT_EQ(unused.opened, 0);
  EXPECT_EQ(text(again), text(plan));
  EXPECT_EQ(count(again, full), 2u);
}

TEST_F(JudgeInPlan, TheBudgetEndsIt) {
  Plan plan = tuned();
  const std::string before = text(plan);
  MadeStand stand([](const Step&, const KernelChoice& c) { return c.full_edge ? 50.0 : 100.0; });
  judge(plan, stand, 0);
  EXPECT_EQ(stand.opened, 0);
  EXPECT_EQ(text(plan), before);
  EXPECT_TRUE(tells("not judged in the plan within the budget")) << told_;
  // In the midst of a look: what is not known counts for nothing.
  stand.slow = true;
  judge(plan, stand, 0.2);
  EXPECT_GT(stand.runs, 0);
  EXPECT_EQ(text(plan), before);
}

TEST_F(JudgeInPlan, ADeviceThatIsTooSmallLeavesThePlanAsItWas) {
  Plan plan = tuned();
  MadeStand stand([](const Step&, const KernelChoice&) { return 1.0; });
  stand.refuses = true;
  judge(plan, stand);
  EXPECT_EQ(count(plan, full) + count(plan, shared), 0u);
  EXPECT_TRUE(tells("not judged in the plan: too small")) << told_;
}

TEST_F(JudgeInPlan, EachPointOfARangeDecidesForItsInterval) {
  Plan plan = tuned(true);
  const Plan before = plan;
  MadeStand stand({});
  stand.cost = [&](const Step&, const KernelChoice& c) {
    return c.full_edge == (stand.n >= 6) ? 90.0 : 100.0;
  };
  judge(plan, stand);
  size_t large = 0;
  for (const TunedPoint& point : tuned_points(plan))
    for (size_t i = 0; i < plan.steps.size(); ++i) {
      const Step &now = plan.steps[i], &then = before.steps[i];
      const KernelChoice& own = then.choices[static_cast<size_t>(choice_at(then, point.at))];
      const KernelChoice& chosen = now.choices[static_cast<size_t>(choice_at(now, point.at))];
      EXPECT_EQ(chosen.full_edge, point.at.at("N") >= 6) << now.name << " " << point.at.at("N");
      EXPECT_EQ(chosen.kernel + vitrail::to_string(chosen.tactic),
                own.kernel + vitrail::to_string(own.tactic));
      large += chosen.full_edge;
    }
  EXPECT_GT(large, 0u);
  EXPECT_TRUE(tells("kept in the plan at N=64: full edge of all launches")) << told_;
  EXPECT_TRUE(tells("judged in the plan at N=2: ")) << told_;
}

TEST_F(JudgeInPlan, APlanWithStepsOnTheHostIsLeftAsItIs) {
  Plan plan = tuned();
  plan.steps[1].kind = Step::Kind::host;
  MadeStand stand([](const Step&, const KernelChoice&) { return 1.0; });
  judge(plan, stand);
  EXPECT_EQ(stand.opened, 0);
  EXPECT_TRUE(tells("some of its steps are no launches")) << told_;
}

TEST_F(JudgeInPlan, VariantsAreOnePlanThatASymbolPicksFrom) {
  Plan plan = tuned(true);
  StepChoices own;
  for (const Step& step : plan.steps) own.push_back(step.choices.back());
  StepChoices other = own, third = own;
  other[0].full_edge = true;
  third[1].division = Division::shared;
  const Plan all = plan_of_variants(plan, {own, other, third});
  for (size_t v = 0; v < 3; ++v)
    for (size_t i = 0; i < all.steps.size(); ++i) {
      const StepChoices& wanted = v == 0 ? own : v == 1 ? other : third;
      const int at = choice_at(all.steps[i], {{"N", 2}, {kPlanVariant, static_cast<int64_t>(v)}});
      ASSERT_GE(at, 0);
      EXPECT_TRUE(same(all.steps[i].choices[static_cast<size_t>(at)], wanted[i])) << v << " " << i;
    }
  // A step that nothing changes has one choice.
  EXPECT_EQ(all.steps[0].choices.size(), 2u);
  EXPECT_EQ(all.steps.back().choices.size(), all.steps.size() > 2 ? 1u : 2u);
}

}  // namespace
}  // namespace vitrail
