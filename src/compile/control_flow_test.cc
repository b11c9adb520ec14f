// SPDX-License-Identifier: Apache-2.0
// If, Loop and extents that depend on data, from graph to results.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "compile/compile.h"
#include "ir/text.h"
#include "oracle/oracle.h"
#include "runtime/executor.h"
#include "vitrail/random.h"

namespace vitrail {
namespace {
using testing::ElementsAre;
using testing::HasSubstr;

class Built {
 public:
  explicit Built(const std::string& text, std::map<std::string, ShapeRange> shapes = {},
                 bool tune = false)
      : graph(ir::parse(text)) {
    BuildOptions options{.shapes = std::move(shapes), .tune = tune, .verify = VerifyLevel::off};
    plan = std::make_shared<const Plan>(build_plan(graph, options, report));
    executor = std::make_unique<Executor>(plan, ExecutorOptions{.threads = 1, .poison = true});
  }
  std::vector<Tensor> run(const std::vector<Tensor>& inputs) {
    for (size_t i = 0; i < inputs.size(); ++i) executor->set_input(i, inputs[i]);
    executor->run();
    std::vector<Tensor> out;
    for (size_t i = 0; i < graph.outputs.size(); ++i) out.push_back(executor->output(i));
    return out;
  }
  // The plan's results, which must be the references' up to rounding.
  std::vector<Tensor> check(const std::vector<Tensor>& inputs) {
    std::vector<Tensor> got = run(inputs), wanted = oracle::run(graph, inputs);
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].dims(), wanted[i].dims()) << i;
      if (got[i].dims() != wanted[i].dims()) continue;
      for (int64_t e = 0; e < got[i].size(); ++e)
        EXPECT_NEAR(got[i].number_at(e), wanted[i].number_at(e), 1e-5) << i << " " << e;
    }
    return got;
  }
  ir::Graph graph;
  BuildReport report;
  std::shared_ptr<const Plan> plan;
  std::unique_ptr<Executor> executor;
};

Tensor flag(bool value) { return Tensor::scalar<bool>(value); }

TEST(ControlFlow, BranchesKeepTheirFusionsAndReadOuterWeights) {
  Built b(R"(graph "t" (x: f32[N,3], flag: bool[]) -> (y) {
  symbol N input 1..
  const w: f32[3,2] = {1, 2, 3, 4, 5, 6}
  h: f32[N,3] = Relu(x) @"relu"
  y: f32[N,2] = If(flag, h, w) @"if" body (h: f32[N,3], w: f32[3,2]) -> (y) {
    symbol N input 1..
    const bias: f32[2] = {0.5, -1}
    m: f32[N,2] = MatMul(h, w) @"m"
    y: f32[N,2] = Add(m, bias) @"a"
  } body (h: f32[N,3], w: f32[3,2]) -> (y) {
    symbol N input 1..
    m: f32[N,2] = MatMul(h, w) @"m"
    y: f32[N,2] = Tanh(m) @"t"
  }
})",
          {{"x", {{1, 3}, {2, 3}, {4, 3}}}});
  ASSERT_EQ(b.plan->steps.back().kind, Step::Kind::branch);
  for (const Block& block : b.plan->steps.back().blocks) {
    ASSERT_EQ(block.size(), 1U);  // the epilogue is in the product, the result in its place
    EXPECT_EQ(block[0].problem.family, "gemm");
    EXPECT_FALSE(block[0].problem.epilogue.code.empty());
  }
  const Tensor x = Tensor::of<float>({2, 3}, {1, -2, 3, 0.1F, 0.2F, -0.3F});
  b.check({x, flag(true)});
  b.check({x, flag(false)});
  b.check({Tensor::of<float>({1, 3}, {1, 1, 1}), flag(false)});
}

TEST(ControlFlow, BranchesOfDifferentExtents) {
  Built b(R"(graph "t" (x: f32[N,2], flag: bool[]) -> (y, s) {
  symbol N input 2..
  symbol if.extent data N
  y: f32[if.extent,2] = If(flag, x) @"if" body (x: f32[N,2]) -> (y) {
    symbol N input 2..
    y: f32[N,2] = Neg(x) @"n"
  } body (x: f32[N,2]) -> (y) {
    symbol N input 2..
    const from: i64[1] = {1}
    const to: i64[1] = {9223372036854775807}
    const axis: i64[1] = {0}
    y: f32[N-1,2] = Slice(x, from, to, axis) @"s"
  }
  s: f32[if.extent,2] = Sigmoid(y) @"after"
})",
          {{"x", {{2, 2}, {3, 2}, {5, 2}}}});
  for (int64_t n : {3, 5, 2})
    for (bool taken : {true, false, true}) {
      Tensor x(DType::f32, {n, 2});
      for (int64_t i = 0; i < 2 * n; ++i) x.mutable_data<float>()[i] = static_cast<float>(i) - 3;
      EXPECT_EQ(b.check({x, flag(taken)})[1].dims()[0], taken ? n : n - 1);
    }
}

TEST(ControlFlow, AKnownConditionLeavesItsBranchAlone) {
  Built b(R"(graph "t" (x: f32[3,2]) -> (y) {
  const zero: i64[] = {0}
  const three: i64[] = {3}
  shape: i64[2] = Shape(x) @"shape"
  rows: i64[] = Gather(shape, zero) {axis: 0} @"gather"
  same: bool[] = Equal(rows, three) @"equal"
  y: f32[3,2] = If(same, x) @"if" body (x: f32[3,2]) -> (y) {
    y: f32[3,2] = Relu(x) @"r"
  } body (x: f32[3,2]) -> (y) {
    y: f32[3,2] = Neg(x) @"n"
  }
})");
  ASSERT_EQ(b.plan->steps.size(), 1U);
  EXPECT_EQ(b.plan->steps[0].problem.family, "pointwise");
  EXPECT_EQ(b.plan->outputs[0].name, "y");
  b.check({Tensor::of<float>({3, 2}, {1, -2, 3, -4, 5, -6})});
}

// The branch that adds needs equal extents, the other one does not.
TEST(ControlFlow, AGuardOfABranchHoldsWhereTheBranchRuns) {
  Built b(R"(graph "t" (x: f32[N,2], z: f32[M,2], flag: bool[]) -> (y) {
  symbol N input 1..
  symbol M input 1..
  const w: f32[2,2] = {1, 2, 3, 4}
  y: f32[N,2] = If(flag, x, z, w) @"if" body (x: f32[N,2], z: f32[M,2], w: f32[2,2]) -> (y) {
    symbol N input 1..
    symbol M input 1..
    s: f32[N,2] = Add(z, x) @"add"
    y: f32[N,2] = MatMul(s, w) @"product"
  } body (x: f32[N,2], z: f32[M,2], w: f32[2,2]) -> (y) {
    symbol N input 1..
    symbol M input 1..
    y: f32[N,2] = Neg(x) @"neg"
  }
})",
          {{"x", {{1, 2}, {5, 2}, {8, 2}}}, {"z", {{1, 2}, {2, 2}, {4, 2}}}}, true);
  EXPECT_TRUE(b.plan->guards.empty());
  const auto some = [](int64_t rows) { return random_tensor(DType::f32, {rows, 2}, 3); };
  b.check({some(5), some(2), flag(false)});
  b.check({some(3), some(3), flag(true)});
  for (int again = 0; again < 2; ++again) {
    try {
      b.run({some(8), some(2), flag(true)});
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code, Code::bad_input);
      EXPECT_THAT(error.what(), HasSubstr("step 'if'"));
      EXPECT_THAT(error.what(), HasSubstr("M is 2 and N is 8, but they must be equal"));
    }
    b.check({some(8), some(2), flag(false)});
    b.check({some(4), some(4), flag(true)});
  }
}

constexpr const char* kLoop =
    R"(graph "t" (x: f32[2,3], trips: i64[], limit: i64[]) -> (last, rows) {
  symbol loop.trips data 8
  const most: i64[] = {8}
  const yes: bool[] = {1}
  n: i64[] = Min(trips, most) @"min"
  last: f32[2,3], rows: f32[loop.trips,2,3] = Loop(n, yes, x, limit) {carried: 1} @"loop" body (i: i64[], go: bool[], c: f32[2,3], limit: i64[]) -> (next, c2, row) {
    const one: f32[] = {1}
    const half: f32[] = {0.5}
    half_c: f32[2,3] = Mul(c, half) @"mul"
    c2: f32[2,3] = Add(half_c, one) @"add"
    row: f32[2,3] = Sub(c, c2) @"sub"
    next: bool[] = Less(i, limit) @"less"
  }
})";

TEST(ControlFlow, LoopsCountCarryAndStack) {
  Built b(kLoop);
  const Tensor x = Tensor::of<float>({2, 3}, {1, 2, 3, 4, 5, 6});
  const auto at = [&](int64_t trips, int64_t limit) {
    return b.check({x, Tensor::scalar<int64_t>(trips), Tensor::scalar<int64_t>(limit)});
  };
  EXPECT_THAT(at(3, 100)[1].dims(), ElementsAre(3, 2, 3));
  EXPECT_THAT(at(0, 100)[1].dims(), ElementsAre(0, 2, 3));  // no round: x itself comes out
  EXPECT_THAT(at(8, 4)[1].dims(), ElementsAre(5, 2, 3));    // ended by its condition
  EXPECT_THAT(at(1, 0)[1].dims(), ElementsAre(1, 2, 3));
}

TEST(ControlFlow, NothingIsDetected) {
  Built b(
      R"(graph "t" (boxes: f32[1,4,4], scores: f32[1,2,4], k: i64[1]) -> (picked, selected, top) {
  symbol nms.selected data 8
  symbol top.extent data 4
  const most: i64[] = {3}
  const iou: f32[] = {0.5}
  const least: f32[] = {0.6}
  selected: i64[nms.selected,3] = NonMaxSuppression(boxes, scores, most, iou, least) @"nms"
  const axes: i64[1] = {1}
  const two: i64[] = {2}
  which: i64[nms.selected] = Gather(selected, two) {axis: 1} @"column"
  const zero: i64[1] = {0}
  flat: f32[4,4] = Squeeze(boxes, zero) @"squeeze"
  rows: f32[nms.selected,4] = Gather(flat, which) {axis: 0} @"rows"
  const scale: f32[] = {10}
  picked: f32[nms.selected,4] = Mul(rows, scale) @"mul"
  top: f32[1,2,top.extent], index: i64[1,2,top.extent] = TopK(scores, k) @"top"
})");
  const Tensor boxes =
      Tensor::of<float>({1, 4, 4}, {0, 0, 1, 1, 0, 0, 1, 1.1F, 5, 5, 6, 6, 8, 8, 9, 9});
  const auto with = [&](float best, int64_t k) {
    return b.check({boxes,
                    Tensor::of<float>({1, 2, 4}, {best, 0.1F, 0.2F, best, 0.3F, 0.1F, best, 0.2F}),
                    Tensor::of<int64_t>({1}, {k})});
  };
  EXPECT_EQ(with(0.9F, 2)[0].dims()[0], 3);
  EXPECT_EQ(with(0.5F, 4)[0].dims()[0], 0);
  EXPECT_EQ(with(0.9F, 1)[0].dims()[0], 3);
}

// Both sides of an equality between extents of data change from run to run.
TEST(ControlFlow, GuardsCompareExtentsOfOneRun) {
  Built b(R"(graph "t" (x: f32[6]) -> (y) {
  symbol a.found data 6
  symbol b.found data 6
  guard a.found == b.found
  const zero: f32[] = {0}
  p: bool[6] = Greater(x, zero) @"p"
  n: f32[6] = Neg(x) @"neg"
  q: bool[6] = Less(n, zero) @"q"
  i: i64[1,a.found] = NonZero(p) @"a"
  j: i64[1,b.found] = NonZero(q) @"b"
  y: i64[1,b.found] = Add(i, j) @"add"
})");
  EXPECT_EQ(b.check({Tensor::of<float>({6}, {1, -1, 1, -1, 1, -1})})[0].dims()[1], 3);
  EXPECT_EQ(b.check({Tensor::of<float>({6}, {1, 1, 1, -1, 1, 1})})[0].dims()[1], 5);
  EXPECT_EQ(b.check({Tensor::of<float>({6}, {-1, -1, -1, -1, -1, -1})})[0].dims()[1], 0);
}

// The extents of a result may need a step whose elements nothing reads.
TEST(ControlFlow, ExtentsAloneKeepAStep) {
  Built b(R"(graph "t" (x: f32[5], v: f32[1]) -> (y) {
  symbol nz.found data 5
  i: i64[1,nz.found] = NonZero(x) @"nz"
  s: i64[2] = Shape(i) @"shape"
  y: f32[1,nz.found] = Expand(v, s) @"expand"
})");
  EXPECT_EQ(
      b.check({Tensor::of<float>({5}, {1, 0, 1, 0, 1}), Tensor::of<float>({1}, {7})})[0].dims()[1],
      3);
  EXPECT_EQ(
      b.check({Tensor::of<float>({5}, {0, 0, 0, 0, 0}), Tensor::of<float>({1}, {7})})[0].dims()[1],
      0);
}

}  // namespace
}  // namespace vitrail
