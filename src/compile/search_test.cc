// SPDX-License-Identifier: Apache-2.0
// Forms and axis orders by time, on a device whose times a test makes up.
#include "compile/search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compile/compile.h"
#include "compile/packed_weights.h"
#include "ir/text_testing.h"
#include "oracle/oracle.h"
#include "passes/pipeline.h"
#include "runtime/executor.h"

namespace vitrail {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// One candidate for each problem, as long as `us` says.
class FakeDevice : public TuningDevice {
 public:
  explicit FakeDevice(std::function<double(const BoundProblem&)> us) : us_(std::move(us)) {}
  std::string name() const override { return "a test"; }
  std::vector<TimedCandidate> candidates(const Problem& problem, const BoundProblem&) override {
    return {{KernelSet().first(problem)->name, {}, 0}};
  }
  void open(const TuningJob& job, const std::vector<Tensor>&) override { open_ = &job.bound; }
  double run(size_t) override { return ++runs, us_(*open_); }
  void close() override {}
  void sign(Plan&) const override {}
  double least_us(const BoundProblem&) const override { return least; }
  double step_us() const override { return step; }
  int runs = 0;
  double least = 0;
  double step = 0;

 private:
  std::function<double(const BoundProblem&)> us_;
  const BoundProblem* open_ = nullptr;
};

// A plan of the graph by search with these times.
class Searched {
 public:
  Searched(const std::string& text, FakeDevice& device, TimingCache& cache, double budget = 60,
           const Bindings& opt = {})
      : imported_(ir::graph_of(text)) {
    ir::Graph fused = imported_.clone();
    passes::run(fused);
    const auto make = [&](ir::Graph graph, const AxisOrders& orders) {
      Built out{.graph = std::move(graph)};
      out.plan = make_plan(out.graph, opt, {}, {}, out.lines, nullptr, orders, &out.free);
      return out;
    };
    Built first = make(fused.clone(), {});
    std::vector<std::string> account;
    const TuneOptions options{.budget_seconds = budget, .progress = {}};
    tune(first.plan, device, options, cache, account);
    built_ = search(std::move(fused), std::move(first),
                    {.make = make, .compare = [&](const Plan& a, Plan& b) {
                       return compare_plans(a, b, device, options, cache);
                     }});
  }

  std::string families() const {
    std::string out;
    for_each_step(built_.plan.steps,
                  [&](const Step& s) { out += (out.empty() ? "" : " ") + s.problem.family; });
    return out;
  }
  const Built& built() const { return built_; }
  std::string account() const {
    std::string out;
    for (const std::string& line : built_.lines) out += line + "\n";
    return out;
  }
  // Largest difference of the plan's outputs from the references on the graph as it was.
  double error(const std::vector<Dims>& inputs) const {
    std::vector<Tensor> in;
    for (const Dims& dims : inputs) in.push_back(ir::drawn(DType::f32, dims, -1, 1, 7 + in.size()));
    Executor executor(std::make_shared<const Plan>(built_.plan), {.threads = 2, .poison = true});
    for (size_t i = 0; i < in.size(); ++i) executor.set_input(i, in[i]);
    executor.run();
    const auto wanted = oracle::run(imported_, in, {.precision = DType::f64});
    double worst = 0;
    for (size_t o = 0; o < wanted.size(); ++o)
      for (int64_t i = 0; i < wanted[o].size(); ++i)
        worst = std::max(worst, std::abs(wanted[o].number_at(i) - executor.output(o).number_at(i)));
    return worst;
  }

 private:
  ir::Graph imported_;
  Built built_;
};

// Two attentions alike and one of other extents.
constexpr const char* kAttentions =
    R"((q: f32[2,8,4], k: f32[2,4,8], v: f32[2,8,4], u: f32[2,5,4]) -> (x, y, z) {
  s1 = MatMul(q, k)
  a1 = Softmax(s1)
  x = MatMul(a1, v)
  s2 = MatMul(v, k)
  a2 = Softmax(s2)
  y = MatMul(a2, q)
  s3 = MatMul(u, k)
  a3 = Softmax(s3)
  z = MatMul(a3, v)
})";
const std::vector<Dims> kShapes = {{2, 8, 4}, {2, 4, 8}, {2, 8, 4}, {2, 5, 4}};
// Sums of 8 terms and an exponential, of numbers up to 4.
constexpr double kRounding = 64 * 4 / 16777216.0;

// The kernel is good for 5 rows, bad for 8.
double slow_for_eight(const BoundProblem& bound) {
  if (bound.problem->family == "attention") return bound.outputs[0].dims[1] == 8 ? 100 : 10;
  return 20;
}

TEST(Search, TheFormThatIsFasterWinsForAllNodesAlike) {
  FakeDevice device(slow_for_eight);
  TimingCache cache("", "");
  const Searched found(kAttentions, device, cache);
  EXPECT_EQ(found.families(), "copy attention gemm softmax gemm gemm softmax gemm");
  EXPECT_THAT(
      found.account(),
      HasSubstr("attention 'x' and 1 more: separate steps, 120.0 us, not one kernel, 200.0 us"));
  EXPECT_THAT(found.account(),
              HasSubstr("attention 'z': one kernel, 30.0 us, not separate steps, 60.0 us"));
  for_each_step(found.built().plan.steps, [](const Step& step) {
    EXPECT_THAT(step.trials.back(), HasSubstr("separate steps")) << step.name;
  });
  EXPECT_LE(found.error(kShapes), kRounding);
}

TEST(Search, EachStepCostsSomethingBesideItsLaunch) {
  const auto us = [](const BoundProblem& b) { return b.problem->family == "attention" ? 65 : 20; };
  FakeDevice device(us);
  TimingCache cache("", ""), other("", "");
  EXPECT_EQ(Searched(kAttentions, device, cache).families().find("attention"), std::string::npos);
  device.step = 4;
  // 65 + 4 against three of 20 + 4.
  const Searched found(kAttentions, device, other);
  EXPECT_EQ(found.families(), "copy attention attention attention");
  EXPECT_THAT(found.account(),
              HasSubstr("attention 'z': one kernel, 69.0 us, not separate steps, 72.0 us"));
}

TEST(Search, TheCacheKnowsTheAnswers) {
  FakeDevice device(slow_for_eight);
  TimingCache cache("", "");
  const Searched first(kAttentions, device, cache);
  EXPECT_GT(std::exchange(device.runs, 0), 0);
  const Searched again(kAttentions, device, cache, 0);
  EXPECT_EQ(device.runs, 0);
  EXPECT_EQ(again.families(), first.families());
  EXPECT_EQ(again.account(), first.account());
}

TEST(Search, WithoutTimeTheFirstFormsStay) {
  FakeDevice device(slow_for_eight);
  TimingCache cache("", "");
  const Searched found(kAttentions, device, cache, 0);
  EXPECT_EQ(found.families(), "copy attention attention attention");
  EXPECT_THAT(found.account(), HasSubstr("were not timed within the budget"));
  EXPECT_EQ(device.runs, 0);
}

// What is twice as slow with its heuristic kernels, or by FLOP alone, is timed no further.
TEST(Search, HopelessFormsAreGivenUpEarly) {
  FakeDevice device(
      [](const BoundProblem& bound) { return bound.problem->family == "attention" ? 10.0 : 20.0; });
  TimingCache cache("", "");
  const Searched found(kAttentions, device, cache);
  EXPECT_EQ(found.families(), "copy attention attention attention");
  EXPECT_THAT(found.account(), HasSubstr("(with heuristic kernels)"));
  const int runs = std::exchange(device.runs, 0);
  device.least = 20;
  TimingCache other("", "");
  const Searched bound(kAttentions, device, other);
  EXPECT_EQ(bound.families(), found.families());
  EXPECT_THAT(bound.account(), HasSubstr("(by FLOP and bytes alone)"));
  EXPECT_LT(device.runs, runs);
}

// Rounds that disagree leave the default.
TEST(Search, AnUnsteadyWinnerIsNotTrusted) {
  int calls = 0;
  FakeDevice device([&](const BoundProblem& bound) {
    if (bound.problem->family == "attention") return 100.0;
    // Steady while it is tuned; then every other round of three problems, run twice each.
    return ++calls <= 22 ? 21.0 : (calls - 23) / 6 % 2 ? 45.0 : 15.0;
  });
  TimingCache cache("", "");
  const Searched found(kAttentions, device, cache);
  EXPECT_EQ(found.families(), "copy attention attention attention");
  EXPECT_THAT(found.account(), HasSubstr("but the rounds spread by"));
}

// A pass's two forms: the model's own wins, and what it holds is decided on after it.
TEST(Search, TheModelsOwnFormOfSpectralAttention) {
  const char* const text = R"((x: f32[2,9,6]) -> (y) {
    const wq: f32[6,6] = #0
    const wk: f32[6,6] = #0
    const wv: f32[6,6] = #0
    const wp: f32[6,6] = #0
    const heads: i64[4] = {0, -1, 2, 3}
    const tokens: i64[3] = {0, -1, 6}
    const last: i64[1] = {-1}
    const eps: f32[] = {1e-12}
    const rescale: f32[2,1,1] = {1.5, 0.5}
    q0 = MatMul(x, wq)
    k0 = MatMul(x, wk)
    v0 = MatMul(x, wv)
    q2 = Reshape(q0, heads)
    k2 = Reshape(k0, heads)
    v2 = Reshape(v0, heads)
    q3 = Transpose(q2) {perm: i[0, 2, 3, 1]}
    k3 = Transpose(k2) {perm: i[0, 2, 3, 1]}
    v3 = Transpose(v2) {perm: i[0, 2, 3, 1]}
    nq = ReduceL2(q3, last)
    nk = ReduceL2(k3, last)
    cq = Clip(nq, eps)
    ck = Clip(nk, eps)
    q4 = Div(q3, cq)
    k4 = Div(k3, ck)
    q5 = Transpose(q4) {perm: i[0, 1, 3, 2]}
    s0 = MatMul(k4, q5)
    s1 = Mul(s0, rescale)
    a = Softmax(s1) {axis: -1}
    m0 = MatMul(a, v3)
    m1 = Transpose(m0) {perm: i[0, 3, 1, 2]}
    m2 = Reshape(m1, tokens)
    y = MatMul(m2, wp)
  })";
  TimingCache cache("", ""), other("", "");
  FakeDevice good([](const BoundProblem&) { return 10.0; });
  const Searched gram(text, good, cache);
  EXPECT_EQ(gram.families(), "gram spectral gemm");
  EXPECT_LE(gram.error({{2, 9, 6}}), kRounding);
  FakeDevice bad([](const BoundProblem& b) { return b.problem->family == "gram" ? 1e4 : 10.0; });
  const Searched own(text, bad, other);
  EXPECT_EQ(own.families().find("gram"), std::string::npos) << own.families();
  EXPECT_THAT(own.account(), HasSubstr("spectral_attention 'y': the model's own form"));
  EXPECT_LE(own.error({{2, 9, 6}}), kRounding);
}

// Faster at opt, slower at the end of the range: a plan has one form for all of it.
TEST(Search, AFormMustNotLoseAnywhereOnTheRange) {
  const char* const text = R"((q: f32[N,8,4], k: f32[N,4,8], v: f32[N,8,4]) -> (x) {
    symbol N input 1..6
    s1 = MatMul(q, k)
    a1 = Softmax(s1)
    x = MatMul(a1, v)
  })";
  const auto times = [](double per_image) {
    return [=](const BoundProblem& bound) {
      return bound.problem->family == "attention" ? 100.0 : per_image * bound.outputs[0].dims[0];
    };
  };
  FakeDevice steep(times(10)), flat(times(5));
  TimingCache cache("", ""), other("", "");
  const Searched kept(text, steep, cache, 60, {{"N", 1}}), won(text, flat, other, 60, {{"N", 1}});
  EXPECT_EQ(kept.families().find("softmax"), std::string::npos) << kept.families();
  EXPECT_THAT(kept.account(), HasSubstr("(slower elsewhere in the range)"));
  EXPECT_NE(won.families().find("softmax"), std::string::npos) << won.families();
}

// A convolution takes an image in any order, so none costs a copy; channels last are faster even
// with the copy that brings them there.
TEST(Search, TimeOverturnsTheFewestCopiedBytes) {
  const char* const text = R"((x: f32[1,8,6,6]) -> (y) {
    const w: f32[4,8,3,3] = #0
    y = Conv(x, w)
  })";
  const auto strided = [](double us) {
    return [us](const BoundProblem& bound) {
      if (bound.problem->family == "copy") return 20.0;
      return bound.inputs[0].strides.back() == 1 ? 10.0 : us;
    };
  };
  FakeDevice slow(strided(100)), quick(strided(12));
  TimingCache cache("", ""), other("", "");
  const Searched copied(text, slow, cache), direct(text, quick, other);
  EXPECT_EQ(direct.families(), "conv copy");
  EXPECT_EQ(copied.families(), "copy conv copy");
  EXPECT_THAT(copied.account(), HasSubstr("axis order of 'x for "));
  EXPECT_THAT(copied.account(), HasSubstr("[0,2,3,1], 30.0 us, not as it lies, 100.0 us"));
  EXPECT_LE(copied.error({{1, 8, 6, 6}}), 72 * kRounding);
}

// The plans that a search tries hold each packed weight once.
TEST(Search, TrialsShareTheirWeights) {
  ir::Graph graph = ir::graph_of(R"((x: f32[3,8]) -> (z) {
    const w: f32[8,8] = #0
    y = MatMul(x, w)
    z = MatMul(y, w)
  })");
  passes::run(graph);
  PackedWeights packed;
  std::vector<std::string> account;
  const auto plan = [&] {
    ir::Graph own = graph.clone();
    return make_plan(own, {}, {}, {}, account, nullptr, {}, nullptr, &packed);
  };
  const Plan first = plan(), second = plan();
  ASSERT_EQ(first.constants.size(), 2u);
  EXPECT_EQ(first.constants[0].raw(), second.constants[0].raw());
  EXPECT_EQ(first.constants[0].raw(), first.constants[1].raw());
}

}  // namespace
}  // namespace vitrail
