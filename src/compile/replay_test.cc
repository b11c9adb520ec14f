// SPDX-License-Identifier: Apache-2.0
#include "compile/replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compile/compile.h"
#include "ir/text.h"
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

constexpr int64_t kOneWindow = int64_t{1} << 30;

// What replay tells of the graph's plan after `damage`.
template <typename Damage>
Replayed replay_graph(const ir::Graph& g, const std::map<std::string, ShapeRange>& shapes,
                      const std::vector<Tensor>& inputs, Damage damage,
                      DType precision = DType::f32, int64_t window_bytes = kOneWindow) {
  BuildOptions options;
  options.shapes = shapes;
  options.threads = 1;
  options.tune = false;
  options.verify = VerifyLevel::off;
  BuildReport report;
  auto plan = std::make_shared<Plan>(build_plan(g, options, report));
  damage(*plan);
  return {replay_steps(g, plan, inputs, {.precision = precision}, window_bytes)};
}
template <typename Damage>
Replayed replay(Damage damage, DType precision = DType::f32, int64_t window_bytes = kOneWindow) {
  return replay_graph(two_products(), {{"x", {{1, 32}, {4, 32}, {16, 32}}}},
                      {random_tensor(DType::f32, {5, 32}, 7)}, damage, precision, window_bytes);
}

// A loop whose first round starts from zeros, so that a wrong weight shows in later ones only; the
// body has an If.
constexpr const char* kNested =
    R"(graph "t" (x: f32[4,8], trips: i64[]) -> (y) {
  const yes: bool[] = {1}
  const most: i64[] = {8}
  const out: f32[8,8] = {0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0.5}
  n: i64[] = Min(trips, most) @"min"
  last: f32[4,8] = Loop(n, yes, x) {carried: 1} @"loop" body (i: i64[], go: bool[], c: f32[4,8]) -> (go, c2) {
    const w: f32[8,8] = {0.5, 0.25, 0, 0, 0, 0, 0, 0, 0, 0.5, 0.25, 0, 0, 0, 0, 0, 0, 0, 0.5, 0.25, 0, 0, 0, 0, 0, 0, 0, 0.5, 0.25, 0, 0, 0, 0, 0, 0, 0, 0.5, 0.25, 0, 0, 0, 0, 0, 0, 0, 0.5, 0.25, 0, 0, 0, 0, 0, 0, 0, 0.5, 0.25, 0.25, 0, 0, 0, 0, 0, 0, 0.5}
    const one: f32[] = {1}
    const two: i64[] = {2}
    m: f32[4,8] = MatMul(c, w) @"product"
    early: bool[] = Less(i, two) @"less"
    c2: f32[4,8] = If(early, m, one) @"if" body (m: f32[4,8], one: f32[]) -> (y) {
      y: f32[4,8] = Add(m, one) @"add"
    } body (m: f32[4,8], one: f32[]) -> (y) {
      const v: f32[8,8] = {1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1}
      y: f32[4,8] = MatMul(m, v) @"again"
    }
  }
  y: f32[4,8] = MatMul(last, out) @"after"
})";

template <typename Damage>
Replayed replay_nested(Damage damage, int64_t window_bytes = kOneWindow) {
  const Tensor zeros = Tensor::of<float>({4, 8}, std::vector<float>(32, 0.0F));
  return replay_graph(ir::parse(kNested), {}, {zeros, Tensor::scalar<int64_t>(4)}, damage,
                      DType::f32, window_bytes);
}

// Doubles the weight of a step, as a wrong kernel might.
auto doubled(const std::string& name) {
  return [name](Plan& plan) {
    for_each_step(plan.steps, [&](const Step& step) {
      if (step.name != name) return;
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
    });
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

TEST(Replay, StepsInsideBodiesAreComparedAlone) {
  const Replayed sound = replay_nested([](Plan&) {});
  for (const char* step : {"loop", "loop/body/product", "loop/body/if", "loop/body/if/then/add",
                           "loop/body/if/else/again", "after"}) {
    EXPECT_TRUE(sound.at(step).compared) << step;
    EXPECT_EQ(sound.at(step).alone.outside, 0) << step;
    EXPECT_EQ(sound.at(step).accumulated.outside, 0) << step;
  }

  const Replayed inner = replay_nested(doubled("product"));
  EXPECT_GT(inner.at("loop/body/product").alone.outside, 0);
  EXPECT_EQ(inner.at("loop/body/product").round, 3) << "the first round reads zeros";
  EXPECT_GT(inner.at("loop").alone.outside, 0) << "its own steps are not fed when it is judged";
  EXPECT_EQ(inner.at("loop/body/if").alone.outside, 0) << "what its branches read is fed too";
  EXPECT_EQ(inner.at("loop/body/if/else/again").alone.outside, 0);
  EXPECT_GT(inner.at("loop/body/if/else/again").accumulated.outside, 0);
  EXPECT_EQ(inner.at("after").alone.outside, 0);

  const Replayed branch = replay_nested(doubled("again"));
  EXPECT_GT(branch.at("loop/body/if/else/again").alone.outside, 0);
  EXPECT_EQ(branch.at("loop/body/product").alone.outside, 0);
}

// A window holds a step at least: here each step has its own, and its own run of the oracle.
TEST(Replay, WindowsChangeNothing) {
  for (const char* wrong : {"first", "second"}) {
    const Replayed whole = replay(doubled(wrong)), pieces = replay(doubled(wrong), DType::f32, 1);
    ASSERT_EQ(whole.steps.size(), pieces.steps.size());
    for (size_t i = 0; i < whole.steps.size(); ++i) {
      EXPECT_EQ(whole.steps[i].compared, pieces.steps[i].compared);
      EXPECT_EQ(whole.steps[i].alone.abs.max, pieces.steps[i].alone.abs.max);
      EXPECT_EQ(whole.steps[i].accumulated.abs.max, pieces.steps[i].accumulated.abs.max);
    }
  }
  const Replayed whole = replay_nested(doubled("product")),
                 pieces = replay_nested(doubled("product"), 1);
  for (size_t i = 0; i < whole.steps.size(); ++i) {
    EXPECT_EQ(whole.steps[i].alone.abs.max, pieces.steps[i].alone.abs.max);
    EXPECT_EQ(whole.steps[i].round, pieces.steps[i].round);
  }
}

}  // namespace
}  // namespace vitrail
