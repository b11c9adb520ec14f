// SPDX-License-Identifier: Apache-2.0
// Several sets of ranges in one plan, and fusions with alternative bodies.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "compile/choices.h"
#include "compile/compile.h"
#include "ir/text.h"
#include "plan/validate.h"
#include "runtime/executor.h"

namespace vitrail {
namespace {
using testing::HasSubstr;

constexpr const char* kNet = R"(graph "t" (x: f32[N,3,H]) -> (y) {
  symbol H input 1..
  symbol N input 1..
  y: f32[N,3,H] = Relu(x) @"relu"
})";
using Set = std::map<std::string, ShapeRange>;

std::shared_ptr<const Plan> built(std::vector<Set> sets) {
  BuildOptions options{.profiles = std::move(sets), .tune = false, .verify = VerifyLevel::fast};
  BuildReport report;
  return std::make_shared<const Plan>(build_plan(ir::parse(kNet), options, report));
}
std::shared_ptr<const Plan> two_sets() {
  return built({Set{{"x", {{1, 3, 8}, {2, 3, 16}, {4, 3, 32}}}},
                Set{{"x", {{16, 3, 64}, {16, 3, 64}, {32, 3, 64}}}}});
}

std::string error_at(Executor& e, int64_t n, int64_t h) {
  e.set_input(0, DType::f32, Dims{n, 3, h}, nullptr);
  try {
    e.bind();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, Code::bad_input);
    return error.what();
  }
  return {};
}

TEST(Profiles, AnInputFitsOneOfTheSets) {
  Executor e(two_sets(), {.threads = 1});
  for (auto [n, h] : {std::pair{1, 8}, {4, 32}, {16, 64}, {32, 64}})
    EXPECT_EQ(error_at(e, n, h), "");
  EXPECT_THAT(
      error_at(e, 8, 64),
      HasSubstr("dimension 0 (N) is 8; the plan allows H 8..32, N 1..4; or H 64..64, N 16..32"));
  EXPECT_THAT(error_at(e, 4, 64), HasSubstr("is"));
  EXPECT_THAT(error_at(e, 2, 40), HasSubstr("dimension 2 (H) is 40"));
  EXPECT_THAT(error_at(e, 64, 64), HasSubstr("dimension 0 (N) is 64"));
}

TEST(Profiles, EachOptIsTuned) {
  const auto points = tuned_points(*two_sets());
  for (const Bindings& opt : {Bindings{{"N", 2}, {"H", 16}}, Bindings{{"N", 16}, {"H", 64}}})
    EXPECT_TRUE(std::any_of(points.begin(), points.end(),
                            [&](const TunedPoint& p) { return p.at == opt; }));
}

// Tall images in small batches, small images in large ones: no line goes through both.
std::vector<Set> crossing_sets() {
  return {Set{{"x", {{1, 3, 64}, {2, 3, 64}, {4, 3, 64}}}},
          Set{{"x", {{16, 3, 8}, {16, 3, 8}, {32, 3, 8}}}}};
}

TEST(Profiles, SetsApartAreTunedApart) {
  const auto points = tuned_points(*built(crossing_sets()));
  std::vector<KernelChoice> chosen;
  for (const TunedPoint& p : points) {
    const int64_t n = p.at.at("N"), h = p.at.at("H");
    EXPECT_EQ(p.set, n > 4 ? 1U : 0U);
    EXPECT_EQ(h, n > 4 ? 8 : 64) << "no point lies outside of the sets";
    EXPECT_EQ(p.opt, n == 2 || n == 16);
    chosen.push_back({.when = {}, .kernel = n == 2 ? "b" : "a", .tactic = {}});
  }
  const auto choices = merge_choices(points, chosen, {"N", "H"});
  EXPECT_EQ(choices.back().kernel, "b");
  for (const KernelChoice& choice : choices)
    EXPECT_TRUE(choice.when.empty() || choice.when.at("N").high <= 4 ||
                choice.when.at("N").low >= 16)
        << "it would hold for both sets";
}

// The hull's corners lie in neither set.
TEST(Profiles, EverySetIsVerified) {
  BuildOptions options{.profiles = crossing_sets(), .tune = false, .verify = VerifyLevel::full};
  BuildReport report;
  build_plan(ir::parse(kNet), options, report);
  std::set<std::string> at;
  for (const CheckRow& row : report.verification) at.insert(row.at);
  for (const char* shapes : {"x 1x3x64", "x 2x3x64", "x 4x3x64", "x 16x3x8", "x 32x3x8",
                             "x 4x3x64, identical images", "x 32x3x8, identical images"})
    EXPECT_TRUE(at.contains(shapes)) << shapes;
}

TEST(Profiles, SetsMustAgreeOnInputs) {
  EXPECT_THROW(built({Set{{"x", {{1, 3, 8}, {2, 3, 16}, {4, 3, 32}}}}, Set{}}), Error);
  EXPECT_THROW(built({Set{{"x", {{1, 3, 8}, {2, 3, 16}, {4, 3, 32}}}},
                      Set{{"x", {{1, 3}, {2, 3}, {4, 3}}}}}),
               Error);
}

TEST(Profiles, APlanRemembersItsSets) {
  const auto sets = profiles_of(*two_sets());
  ASSERT_EQ(sets.size(), 2U);
  EXPECT_EQ(sets[1].at("x").min, (Dims{16, 3, 64}));
  EXPECT_EQ(sets[0].at("x").opt, (Dims{2, 3, 16}));
  EXPECT_TRUE(profiles_of(*built({Set{{"x", {{1, 3, 8}, {2, 3, 16}, {4, 3, 32}}}}})).empty());
}

TEST(Profiles, HostileSetsAreRefused) {
  const auto refused = [](const std::function<void(PlanSymbol&)>& edit) {
    Plan plan = *two_sets();
    edit(plan.symbols[0]);
    EXPECT_THROW(validate(plan), Error);
  };
  refused([](PlanSymbol& s) { s.profiles.pop_back(); });
  refused([](PlanSymbol& s) { s.profiles[0].max = s.max + 1; });
  refused([](PlanSymbol& s) { s.profiles[1].opt = s.profiles[1].min - 1; });
}

// The first body asks the family for what it cannot do; the second is what it is for.
TEST(Bodies, ThePlanTakesTheFirstThatAKernelTakes) {
  ir::Graph graph = ir::parse(R"(graph "t" (x: f32[2,6]) -> (y) {
  y: f32[2,6] = fusion "softmax"(x) @"f" body (x: f32[2,6]) -> (y) {
    e: f32[2,6] = Exp(x) @"e"
    const a: i64[1] = {-1}
    s: f32[2,1] = ReduceSum(e, a) {keepdims: 1} @"s"
    y: f32[2,6] = Div(e, s) @"d"
  } body (x: f32[2,6]) -> (y) {
    y: f32[2,6] = Softmax(x) {axis: -1} @"soft"
  }
})");
  std::vector<std::string> account;
  const BuildOptions options;
  const Plan plan = make_plan(graph, {}, options, {}, account);
  ASSERT_EQ(plan.steps.size(), 1U);
  EXPECT_EQ(plan.steps[0].problem.family, "softmax");
  ASSERT_EQ(account.size(), 1U);
  EXPECT_THAT(account[0], HasSubstr("another form of softmax: 'f' because"));
}

}  // namespace
}  // namespace vitrail
