// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "passes/pass_testing.h"

namespace vitrail::passes {
namespace {

TEST(FusePointwise, ChainsAndTrees) {
  expect_rewrite("fuse_pointwise", R"((x: f32[N,3,5], u: f32[5]) -> (y) {
    symbol N input 1..
    a = Mul(x, u)
    b = Sigmoid(x)
    c = Add(a, b)
    y = Relu(c)
  })",
                 R"((x: f32[N,3,5], u: f32[5]) -> (y) {
    symbol N input 1..
    y = fusion "pointwise"(x, u) body (x: f32[N,3,5], u: f32[5]) -> (y) {
      a = Mul(x, u)
      b = Sigmoid(x)
      c = Add(a, b)
      y = Relu(c)
    }
  })");
}

// A value that is read twice, or is an output, ends a group; what it reads makes one of its own.
TEST(FusePointwise, GroupsEndWhereAValueIsShared) {
  expect_rewrite("fuse_pointwise",
                 "(x: f32[3,5]) -> (y) { a = Neg(x) \n b = Exp(a) \n c = Relu(b) \n d = Sin(b) \n "
                 "e = Cos(d) \n y = Add(c, e) }",
                 R"((x: f32[3,5]) -> (y) {
    b = fusion "pointwise"(x) body (x: f32[3,5]) -> (b) { a = Neg(x) b = Exp(a) }
    y = fusion "pointwise"(b) body (b: f32[3,5]) -> (y) { c = Relu(b) d = Sin(b) e = Cos(d) y = Add(c, e) }
  })");
}

TEST(FusePointwise, NearMisses) {
  const auto kept = [](const std::string& text) { expect_kept("fuse_pointwise", text); };
  kept("(x: f32[3,5]) -> (y) { y = Relu(x) }");                   // alone: outline_singles takes it
  kept("(x: f32[3,5]) -> (y) { a = Neg(x) \n y = Mul(a, a) }");   // read twice
  kept("(x: f32[3,5]) -> (y, a) { a = Neg(x) \n y = Relu(a) }");  // an output in the middle
  kept("(x: f32[1,5], u: f32[3,5]) -> (y) { a = Neg(x) \n y = Add(a, u) }");  // computed on fewer
                                                                              // elements
  kept("(x: f32[3,5]) -> (y) { a = Neg(x) \n b = Transpose(a) \n y = Relu(b) }");  // not the same
                                                                                   // element
  kept("(x: f32[3,5]) -> (y) { a = Neg(x) \n b = Softmax(a) \n y = Relu(b) }");
  kept("(x: i64[3,5]) -> (y) { a = Neg(x) \n y = Abs(a) }");  // integers
  kept("(x: f64[3,5]) -> (y) { a = Neg(x) \n y = Abs(a) }");
  kept("(x: f32[3,5], u: f32[3,5]) -> (y) { a = Less(x, u) \n y = Not(a) }");
}

// Long chains end where the registers do, and compute the same.
TEST(FusePointwise, LongChains) {
  std::string text = "(x: f32[3,5]) -> (y) { v0 = Relu(x) \n";
  for (int i = 1; i < 60; ++i)
    text += fmt::format("v{} = {}(v{}) \n", i, i % 2 ? "Sin" : "Cos", i - 1);
  const ir::Graph g = rewritten("fuse_pointwise", graph_of(text + "y = Neg(v59) }"));
  EXPECT_EQ(g.node_count(), 3u);
  for (ir::NodeId id : g.topological_order()) EXPECT_LE(g.node(id).bodies[0]->node_count(), 24u);
}

TEST(OutlineSingles, WhatFamiliesTakeAlone) {
  expect_rewrite("outline_singles", R"((x: f32[N,4]) -> (y) {
    symbol N input 1..
    const w: f32[4,6] = #0
    p = MatMul(x, w)
    y = Transpose(p)
  })",
                 R"((x: f32[N,4]) -> (y) {
    symbol N input 1..
    const w: f32[4,6] = #0
    p = fusion "gemm"(x, w) body (x: f32[N,4], w: f32[4,6]) -> (p) { p = MatMul(x, w) }
    y = Transpose(p)
  })");
  for (const char* node :
       {"Transpose(x)", "CumSum(x, i)", "ArgMax(x) {axis: 1}", "Cast(x) {to: 7}", "TopK(x, k)"})
    expect_kept(
        "outline_singles",
        std::string("(x: f32[3,4]) -> (y) { const i: i64[] = {0} \n const k: i64[1] = {2} \n y") +
            (node[0] == 'T' && node[1] == 'o' ? ", z" : "") + " = " + node + " }");
}

// A fusion that no kernel takes falls back to singles; a single falls back to its op.
TEST(DissolveRefused, ToSinglesThenToOps) {
  ir::Graph g = graph_of(R"((x: f32[3,4]) -> (y) {
    const w: f32[4,6] = #0
    y = fusion "gemm"(x, w) body (x: f32[3,4], w: f32[4,6]) -> (y) { p = MatMul(x, w) y = Relu(p) }
  })");
  dissolve_refused(g, g.value(g.outputs[0]).producer);
  ir::verify(g, "dissolve");
  EXPECT_EQ(outline_of(g), outline_of(graph_of(R"((x: f32[3,4]) -> (y) {
    const w: f32[4,6] = #0
    p = fusion "gemm"(x, w) body (x: f32[3,4], w: f32[4,6]) -> (p) { p = MatMul(x, w) }
    y = fusion "pointwise"(p) body (p: f32[3,6]) -> (y) { y = Relu(p) }
  })")));
  dissolve_refused(g, g.value(g.outputs[0]).producer);
  EXPECT_TRUE(g.node(g.value(g.outputs[0]).producer).is("Relu"));
}

}  // namespace
}  // namespace vitrail::passes
