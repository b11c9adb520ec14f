// SPDX-License-Identifier: Apache-2.0
// The GPU's tuner as far as it needs no GPU: candidates, the plan they are timed on, and what the
// tuner makes of a device's times.
#include "compile/tune_gpu.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "base/error.h"
#include "compile/choices.h"
#include "compile/compile.h"
#include "compile/gpu_stand.h"
#include "compile/nvrtc.h"
#include "ir/text.h"
#include "passes/pipeline.h"
#include "plan/validate.h"
#include "runtime/binding.h"

namespace vitrail {
namespace {

constexpr const char* kModel = R"(graph "small" (x: f32[N,48,256]) -> (y) {
  symbol N input 1..64
  t: f32[N,256,48] = Transpose(x) {perm: i[0, 2, 1]} @"turn"
  m: f32[N,48,48] = MatMul(x, t) @"product"
  y: f32[N,48,48] = Softmax(m) {axis: -1} @"soft"
})";

Plan gpu_plan(const KernelSet& kernels, const GpuTarget& target) {
  BuildOptions options;
  options.shapes["x"] = {{1, 48, 256}, {1, 48, 256}, {64, 48, 256}};
  std::string row = "1";
  for (int i = 1; i < 256 * 512; ++i) row += ", 1";
  ir::Graph graph = ir::parse(fmt::format(R"(graph "small" (x: f32[N,48,256]) -> (y) {{
  symbol N input 1..64
  const w: f32[256,512] = {{{}}}
  m: f32[N,48,512] = MatMul(x, w) @"product"
  y: f32[N,48,512] = Softmax(m) {{axis: -1}} @"soft"
}})",
                                          row));
  const Bindings opt = apply_shapes(graph, options.shapes);
  graph.infer_all();
  passes::run(graph, {.disabled = {}, .observe = {}});
  std::vector<std::string> account;
  Plan plan = make_plan(graph, opt, options, kernels, account, &target);
  choose_gpu_kernels(plan, target, kernels);
  return plan;
}

const Step& product_of(const Plan& plan) {
  for (const Step& s : plan.steps)
    if (s.problem.family == "gemm") return s;
  throw std::out_of_range("no product");
}

class TuneGpu : public testing::Test {
 protected:
  GpuTarget target_{
      .machine = typical_gpu(90), .storage = DType::f32, .tf32 = false, .cache_folder = {}};
  KernelSet kernels_;
  Plan plan_ = gpu_plan(kernels_, target_);
};

TEST_F(TuneGpu, CandidatesBeginWithTheHeuristicChoiceAndHoldOtherRows) {
  const Step& step = product_of(plan_);
  const BoundProblem bound = vitrail::bind(step.problem, {{"N", 1}});
  const auto list = gpu_candidates(step.problem, bound, target_.machine, kernels_);
  ASSERT_GT(list.size(), 4u);
  EXPECT_LE(list.size(), 20u);
  EXPECT_EQ(list[0].kernel, step.choices.back().kernel);
  EXPECT_EQ(list[0].tactic, step.choices.back().tactic);
  std::set<std::string> rows, all;
  for (const TimedCandidate& c : list) {
    rows.insert(c.kernel);
    EXPECT_TRUE(all.insert(c.kernel + to_string(c.tactic)).second) << c.kernel;
  }
  EXPECT_GT(rows.size(), 1u);
  kernels_.off.insert(list[0].kernel);
  for (const TimedCandidate& c : gpu_candidates(step.problem, bound, target_.machine, kernels_))
    EXPECT_NE(c.kernel, list[0].kernel);
}

TEST_F(TuneGpu, KeysTellDevicesDriversAndRangesApart) {
  GpuMachine other = target_.machine;
  other.model = "another";
  EXPECT_NE(gpu_timing_key(target_.machine, 13000), gpu_timing_key(other, 13000));
  EXPECT_NE(gpu_timing_key(target_.machine, 13000), gpu_timing_key(target_.machine, 12040));
  CodeCompiler compiler("sm_90a", {});
  GpuTuning tuning(plan_, target_, kernels_, compiler);
  const Problem& ranged = product_of(plan_).problem;
  Problem fixed = ranged;
  for (auto* list : {&fixed.inputs, &fixed.outputs})
    for (Operand& o : *list) o.dims = to_shape(eval(o.dims, {{"N", 1}}));
  const Bindings one{{"N", 1}};
  EXPECT_NE(tuning.circumstances(ranged, vitrail::bind(ranged, one)),
            tuning.circumstances(fixed, vitrail::bind(fixed, one)));
  // Operands that fill the cache leave no weights in it.
  EXPECT_NE(tuning.circumstances(ranged, vitrail::bind(ranged, one)),
            tuning.circumstances(ranged, vitrail::bind(ranged, {{"N", 4096}})));
}

StandRequest request_for(const Step& step, const BoundProblem& bound, const Plan& plan) {
  StandRequest request{.step = &step,
                       .bound = &bound,
                       .at = {{"N", 3}},
                       .weights = std::vector<Tensor>(step.inputs.size()),
                       .candidates = {},
                       .modules = {Tensor(DType::u8, {4}), Tensor(DType::u8, {4})},
                       .target = plan.target,
                       .launches = 7,
                       .weight_sets = 3};
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    const PlanBuffer& b =
        plan.buffers[static_cast<size_t>(plan.values[static_cast<size_t>(step.inputs[i])].buffer)];
    if (b.kind == PlanBuffer::Kind::constant)
      request.weights[i] = plan.constants[static_cast<size_t>(b.constant)];
  }
  for (int i : {0, 1})
    request.candidates.push_back(
        {.when = {},
         .kernel = fmt::format("candidate {}", i),
         .tactic = {},
         .module = i,
         .launches = {GpuLaunch{.entry = "e", .grid = {Expr::symbol("N"), 1, 1}, .threads = 32}}});
  return request;
}

TEST_F(TuneGpu, TheStandIsAPlanThatPicksACandidateBySymbol) {
  const Step& step = product_of(plan_);
  const BoundProblem bound = vitrail::bind(step.problem, {{"N", 3}});
  const Plan stand = stand_plan(request_for(step, bound, plan_));
  ASSERT_EQ(stand.steps.size(), 7u);
  const Program program(std::make_shared<const Plan>(stand), all_cpu_kernels(), 1);
  for (int64_t i : {0, 1}) {
    Binding binding(program, {{"N", 3}, {kStandCandidate, i}});
    for (const StepInfo& info : program.steps()) {
      EXPECT_EQ(binding.step(info).choice->kernel, fmt::format("candidate {}", i));
      EXPECT_EQ(binding.step(info).device[0].grid[0], 3u);
    }
    // One input and one output, whatever the number of launches.
    EXPECT_LE(binding.arena_bytes(), 4 * (3 * 48 * 256 + 3 * 48 * 512) + 1024);
  }
  // Weights take turns, the others are shared.
  EXPECT_EQ(stand.steps[0].inputs, stand.steps[3].inputs);
  EXPECT_EQ(stand.steps[0].outputs, stand.steps[1].outputs);
  for (size_t i = 0; i < step.inputs.size(); ++i)
    EXPECT_EQ(stand.steps[0].inputs[i] == stand.steps[1].inputs[i],
              !step.problem.inputs[i].constant);
}

TEST_F(TuneGpu, AWeightThatIsNotAtHandLeavesTheJobUntimed) {
  const Step& step = product_of(plan_);
  const BoundProblem bound = vitrail::bind(step.problem, {{"N", 3}});
  StandRequest request = request_for(step, bound, plan_);
  request.weights.assign(step.inputs.size(), {});
  try {
    stand_plan(request);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, Code::resource);
  }
}

TEST_F(TuneGpu, TheRuntimePicksTheChoiceOfTheRange) {
  plan_.modules = {Tensor(DType::u8, {4})};
  for_each_step(plan_.steps, [](Step& step) {
    for (KernelChoice& c : step.choices) {
      c.module = 0;
      c.launches = {{.entry = "e"}};
    }
  });
  const Step& step = product_of(plan_);
  ASSERT_GT(step.choices.size(), 1u);
  const std::set<std::string> symbols = symbols_of(step.problem);
  const Program program(std::make_shared<const Plan>(plan_), all_cpu_kernels(), 1);
  for (const TunedPoint& point : tuned_points(plan_))
    for (const StepInfo& info : program.steps())
      if (info.step->name == step.name) {
        const GpuKernel& kernel = kernels_.find_gpu(step.choices[0].kernel);
        EXPECT_EQ(program.choose_device(info, point.at).tactic,
                  kernel.tactics(vitrail::bind(step.problem, point.at), target_.machine)[0])
            << point.at.at("N");
      }
}

// A device on which the second candidate is twice as fast at 6 or more, and the last never runs.
class Made : public TuningDevice {
 public:
  Made(const KernelSet& kernels, const GpuMachine& machine)
      : kernels_(kernels), machine_(machine) {}
  std::string name() const override { return "a made device"; }
  std::vector<TimedCandidate> candidates(const Problem& problem,
                                         const BoundProblem& bound) override {
    // The same list at every extent, so that it is the times that decide.
    auto list = gpu_candidates(problem, bound, machine_, kernels_);
    std::sort(list.begin(), list.end(), [](const TimedCandidate& a, const TimedCandidate& b) {
      return std::tie(a.kernel, a.tactic) < std::tie(b.kernel, b.tactic);
    });
    list.resize(std::min<size_t>(list.size(), 3));
    return list;
  }
  double estimate(const BoundProblem&) const override { return 1e-6; }
  void announce(const std::vector<const TuningJob*>& jobs) override { announced += jobs.size(); }
  void open(const TuningJob& job, const std::vector<Tensor>&) override {
    large_ = job.at.at("N") >= 6;
    last_ = job.candidates.size() - 1;
    ++opened;
  }
  double run(size_t candidate) override {
    if (candidate == 2) return std::numeric_limits<double>::infinity();
    return candidate == 1 && large_ ? 5 : 10;
  }
  void close() override {}
  void sign(Plan& plan) const override { plan.tuned_for = name(); }
  size_t announced = 0, opened = 0;

 private:
  const KernelSet& kernels_;
  const GpuMachine& machine_;
  bool large_ = false;
  size_t last_ = 0;
};

TEST_F(TuneGpu, TimesDecideByRangeAndAreKept) {
  TimingCache cache({}, "made");
  std::vector<std::string> account;
  Made device(kernels_, target_.machine);
  tune(plan_, device, {}, cache, account);
  EXPECT_EQ(plan_.tuned_for, "a made device");
  EXPECT_EQ(device.announced, device.opened);
  EXPECT_GT(device.opened, 1u);
  const Step& step = product_of(plan_);
  ASSERT_EQ(step.choices.size(), 2u);  // 1 and 3 keep the first; from 6 on the second wins
  EXPECT_EQ(step.choices[0].microseconds, 5);
  EXPECT_EQ(step.choices[0].when.at("N").high, 64);
  EXPECT_EQ(step.choices[1].microseconds, 10);
  EXPECT_NE(step.choices[0].tactic, step.choices[1].tactic);
  std::string trials, told;
  for (const std::string& line : step.trials) trials += line + "\n";
  for (const std::string& line : account) told += line + "\n";
  EXPECT_NE(trials.find(" at N=64: 5.00 us, chosen"), std::string::npos) << trials;
  EXPECT_NE(trials.find(" at N=1: does not run there"), std::string::npos) << trials;
  EXPECT_NE(told.find("tuned for a made device"), std::string::npos) << told;

  Plan again = gpu_plan(kernels_, target_);
  Made warm(kernels_, target_.machine);
  tune(again, warm, {.budget_seconds = 0, .progress = {}}, cache, account);
  EXPECT_EQ(warm.announced + warm.opened, 0u);
  EXPECT_EQ(product_of(again).trials, step.trials);
  EXPECT_EQ(product_of(again).choices.size(), 2u);
}

TEST_F(TuneGpu, ABuildFromAfarSaysThatNothingWasTimed) {
  BuildOptions options;
  options.device = "cuda:99";
  options.architecture = "sm_90";
  options.verify = VerifyLevel::off;
  options.shapes["x"] = {{1, 48, 256}, {1, 48, 256}, {64, 48, 256}};
  if (!have_nvrtc()) GTEST_SKIP() << "no compiler for GPUs";
  BuildReport report;
  const Plan plan = build_plan(ir::parse(kModel), options, report);
  EXPECT_EQ(plan.tuned_for, "");
  std::string told;
  for (const std::string& line : report.lines) told += line + "\n";
  EXPECT_NE(told.find("not tuned: no device of sm_90a is here"), std::string::npos) << told;
  for (const Step& s : plan.steps)
    for (const KernelChoice& c : s.choices) EXPECT_GE(c.module, 0);
}

}  // namespace
}  // namespace vitrail
