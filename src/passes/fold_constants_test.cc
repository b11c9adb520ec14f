// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "passes/pass_testing.h"

namespace vitrail::passes {
namespace {

TEST(FoldConstants, ArithmeticAndMovement) {
  expect_rewrite("fold_constants", R"((x: f32[N,3]) -> (y) {
    symbol N input 1..
    const a: f32[3] = {1, 2, 3}
    const b: f32[] = {0.5}
    s = Mul(a, b)
    y = Add(x, s)
  })",
                 R"((x: f32[N,3]) -> (y) {
    symbol N input 1..
    const s: f32[3] = {0.5, 1, 1.5}
    y = Add(x, s)
  })");
  expect_rewrite("fold_constants", R"((x: f32[N,4]) -> (y) {
    symbol N input 1..
    const w: f32[5,4] = #0
    t = Transpose(w) {perm: i[1, 0]}
    y = MatMul(x, t)
  })",
                 R"((x: f32[N,4]) -> (y) {
    symbol N input 1..
    const w: f32[4,5] = #0
    y = MatMul(x, w)
  })");
}

// Shape glue becomes numbers where the extents are known, though x is not.
TEST(FoldConstants, ShapesOfVariables) {
  expect_rewrite("fold_constants", R"((x: f32[N,6]) -> (y) {
    symbol N input 1..
    const one: i64[1] = {1}
    const two: i64[1] = {2}
    const rest: i64[1] = {-1}
    const i: i64[1] = {1}
    s = Shape(x)
    c = Gather(s, i)
    h = Div(c, two)
    t = Concat(rest, h, two) {axis: 0}
    y = Reshape(x, t)
  })",
                 R"((x: f32[N,6]) -> (y) {
    symbol N input 1..
    const t: i64[3] = {-1, 3, 2}
    y = Reshape(x, t)
  })");
}

// The extent of what NonZero gives is a number after folding, also downstream.
TEST(FoldConstants, ExtentsThatDependOnConstantData) {
  expect_rewrite("fold_constants", R"((x: f32[5,3]) -> (y) {
    const mask: i64[5] = {1, 0, 0, 1, 1}
    const axes: i64[1] = {0}
    symbol i.count data 5
    i: i64[1,i.count] = NonZero(mask)
    j: i64[i.count] = Squeeze(i, axes)
    g: f32[i.count,3] = Gather(x, j)
    y: f32[i.count,3] = Relu(g)
  })",
                 R"((x: f32[5,3]) -> (y) {
    const j: i64[3] = {0, 3, 4}
    g = Gather(x, j)
    y = Relu(g)
  })");
}

TEST(FoldConstants, KeepsDoublesAndHalves) {
  // 1/3 as double, not as float32
  ir::Graph g = graph_of(
      "(x: f64[2]) -> (y) { const a: f64[] = {1} \n const b: f64[] = {3} \n c = Div(a, b) \n y = "
      "Mul(x, c) }");
  g = rewritten("fold_constants", g);
  const ir::Node& mul = *g.producer(g.outputs[0]);
  EXPECT_EQ(g.value(mul.inputs[1]).constant.number_at(0), 1.0 / 3.0);
  // each result is rounded to half, as at run time
  g = graph_of(
      "(x: f16[1]) -> (y) { const a: f16[1] = {2048} \n const b: f16[1] = {1} \n c = Add(a, b) \n "
      "d = Add(c, b) \n y = Mul(x, d) }");
  g = rewritten("fold_constants", g);
  EXPECT_EQ(g.value(g.producer(g.outputs[0])->inputs[1]).constant.number_at(0), 2048);
}

TEST(FoldConstants, NearMisses) {
  // An input is no constant, whatever it feeds.
  expect_kept("fold_constants", "(x: f32[3], u: f32[3]) -> (y) { y = Add(x, u) }");
  // Extents known only when a session binds.
  expect_kept("fold_constants", "(x: f32[N,6]) -> (s) { symbol N input 1.. \n s = Shape(x) }");
  // An image made of one number: the plan would carry 4 MB instead of 4 bytes.
  expect_kept("fold_constants", R"((x: f32[1,3,1024,1024]) -> (y) {
    const zero: f32[] = {0}
    const s: i64[4] = {1, 1, 1024, 1024}
    z = Expand(zero, s)
    y = Add(x, z)
  })");
}

// An output that became constant keeps its name; so does one beside an equal one.
TEST(FoldConstants, OutputsKeepTheirNames) {
  const ir::Graph g = rewritten("fold_constants",
                                graph_of("(x: f32[2]) -> (y, s) { y = Relu(x) \n s = Shape(x) }"));
  EXPECT_EQ(g.value(g.outputs[1]).name, "s");
  EXPECT_TRUE(g.value(g.outputs[1]).is_constant());
}

}  // namespace
}  // namespace vitrail::passes
