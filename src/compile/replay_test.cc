// SPDX-License-Identifier: Apache-2.0
#include "compile/replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compile/compile.h"
#include "vitrail/random.h"

namespace vitrail {
namespace {

// Two matrix products around a TopK, whose values go on through the second.
ir::Graph two_products() {
  ir::Graph g;
  g.symbols.emplace("N", ir::Symbol{.range = {1, 16}});
  const auto x = g.add_input("x", DType::f32, {Expr::symbol("N"), 32});
  const auto a = g.add_constant("a", random_tensor(DType::f32, {32, 64}, 1, -1, 1));
  const auto b = g.add_constant("b", random_tensor(DType::f32, {8, 16}, 2, -1, 1));
  const auto k = g.add_constant("k", Tensor::of<int64_t>({1}, {8}));
  const auto first = g.op("MatMul", {x, a}, {}, "first");
  const ir::NodeId best = g.add_node(*find_op("", "TopK"), {first, k}, {}, "best", 2);
  g.outputs = {g.op("MatMul", {g.node(best).outputs[0], b}, {}, "second")};
  return g;
}

struct Replayed {
  std::vector<StepDifference> steps;
  const StepDifference& at(const std::string& step) const {
    for (const StepDifference& s : steps)
      if (s.step == step) return s;
    throw std::out_of_range(step);
  }
};

// What replay tells of the graph's plan after `damage`.
template <typename Damage>
Replayed replay(Damage damage, DType precision = DType::f32) {
  const ir::Graph g = two_products();
  BuildOptions options;
  options.shapes["x"] = {{1, 32}, {4, 32}, {16, 32}};
  options.threads = 1;
  options.tune = false;
  options.verify = VerifyLevel::off;
  BuildReport report;
  auto plan = std::make_shared<Plan>(build_plan(g, options, report));
  damage(*plan);
  return {replay_steps(g, plan, {random_tensor(DType::f32, {5, 32}, 7)}, {.precision = precision})};
}

// Doubles the weight of a step, as a wrong kernel might.
auto doubled(const std::string& name) {
  return [name](Plan& plan) {
    for (const Step& step : plan.steps) {
      if (step.name != name) continue;
      for (int value : step.inputs) {
        const PlanBuffer& buffer =
            plan.buffers[static_cast<size_t>(plan.values[static_cast<size_t>(value)].buffer)];
        if (buffer.kind != PlanBuffer::Kind::constant) continue;
        Tensor& old = plan.constants[static_cast<size_t>(buffer.constant)];
        Tensor twice(old.dtype(), old.dims());
        for (int64_t i = 0; i < old.size(); ++i)
          twice.mutable_data<float>()[i] = 2 * old.data<float>()[i];
        old = twice;
      }
    }
  };
}

TEST(Replay, ASoundPlanAgreesAtEveryStep) {
  for (const DType precision : {DType::f32, DType::f64}) {
    const Replayed sound = replay([](Plan&) {}, precision);
    ASSERT_GE(sound.steps.size(), 3u);
    for (const StepDifference& s : sound.steps) {
      EXPECT_TRUE(s.compared) << s.step;
      EXPECT_EQ(s.alone.outside, 0) << s.step;
      EXPECT_EQ(s.accumulated.outside, 0) << s.step;
      EXPECT_NE(s.kernel, "") << s.step;
    }
  }
}

TEST(Replay, AFaultIsFoundWhereItIs) {
  const Replayed second = replay(doubled("second"));
  EXPECT_EQ(second.at("first").alone.outside, 0);
  EXPECT_GT(second.at("second").alone.outside, 0);

  const Replayed first = replay(doubled("first"));
  EXPECT_GT(first.at("first").alone.outside, 0);
  EXPECT_EQ(first.at("second").alone.outside, 0) << "fed with the reference's values it is right";
}

// Behind a choice of the largest, the values of another choice could not be compared.
TEST(Replay, ADiscontinuousStepStartsFromTheReference) {
  const Replayed first = replay(doubled("first"));
  EXPECT_TRUE(first.at("best").restarted);
  EXPECT_GT(first.at("first").accumulated.outside, 0);
  EXPECT_EQ(first.at("best").accumulated.outside, 0);
  EXPECT_EQ(first.at("second").accumulated.outside, 0);
}

}  // namespace
}  // namespace vitrail
