// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "passes/pass_testing.h"

namespace vitrail::passes {
namespace {

const std::string kHead =
    R"((q: f32[N,2,L,5], k: f32[N,2,5,T], v: f32[N,2,T,3], m: f32[L,T]) -> (y) {
    symbol N input 1..
    symbol L input 1..
    symbol T input 1..
    const c: f32[] = {0.25}
    const ones: f32[3] = {1, 1, 1}
)";

TEST(FuseAttention, ScaledAndMasked) {
  expect_rewrite(
      "fuse_attention",
      kHead + "s = MatMul(q, k) \n a = Softmax(s) {axis: -1} \n y = MatMul(a, v) }",
      kHead +
          R"(y = fusion "attention"(q, k, v) body (q: f32[N,2,L,5], k: f32[N,2,5,T], v: f32[N,2,T,3]) -> (y) {
      s = MatMul(q, k)
      a = Softmax(s) {axis: -1}
      y = MatMul(a, v)
    } })");
  expect_rewrite(
      "fuse_attention",
      kHead +
          "s = MatMul(q, k) \n t = Mul(s, c) \n u = Add(t, m) \n a = Softmax(u) {axis: 3} \n y = "
          "MatMul(a, v) }",
      kHead +
          R"(y = fusion "attention"(q, k, c, m, v) body (q: f32[N,2,L,5], k: f32[N,2,5,T], c: f32[], m: f32[L,T], v: f32[N,2,T,3]) -> (y) {
      s = MatMul(q, k)
      t = Mul(s, c)
      u = Add(t, m)
      a = Softmax(u) {axis: 3}
      y = MatMul(a, v)
    } })");
  // the mask on the left, a quotient
  expect_rewrite(
      "fuse_attention",
      kHead +
          "s = MatMul(q, k) \n t = Div(s, c) \n u = Add(m, t) \n a = Softmax(u) {axis: 3} \n y = "
          "MatMul(a, v) }",
      kHead +
          R"(y = fusion "attention"(q, k, c, m, v) body (q: f32[N,2,L,5], k: f32[N,2,5,T], c: f32[], m: f32[L,T], v: f32[N,2,T,3]) -> (y) {
      s = MatMul(q, k)
      t = Div(s, c)
      u = Add(m, t)
      a = Softmax(u) {axis: 3}
      y = MatMul(a, v)
    } })");
}

// The scale on q, on k, on both (PyTorch's dynamo exporter), before or after a Transpose.
TEST(FuseAttention, ScaleOnOperands) {
  const std::string tail = "a = Softmax(s) {axis: -1} \n y = MatMul(a, v) }";
  const auto after = [](const char* scale, const std::string& before = "", const char* key = "k") {
    return kHead + before + "const f: f32[] = {" + scale + R"(}
    y = fusion "attention"(q, )" +
           key +
           R"(, f, v) body (q: f32[N,2,L,5], k: f32[N,2,5,T], f: f32[], v: f32[N,2,T,3]) -> (y) {
      s = MatMul(q, k)
      t = Mul(s, f)
      a = Softmax(t) {axis: -1}
      y = MatMul(a, v)
    } })";
  };
  expect_rewrite("fuse_attention", kHead + "p = Mul(q, c) \n s = MatMul(p, k) \n" + tail,
                 after("0.25"));
  expect_rewrite("fuse_attention", kHead + "p = Div(k, c) \n s = MatMul(q, p) \n" + tail,
                 after("4"));
  expect_rewrite("fuse_attention",
                 kHead + "p = Mul(q, c) \n r = Mul(k, c) \n s = MatMul(p, r) \n" + tail,
                 after("0.0625"));
  expect_rewrite("fuse_attention",
                 kHead +
                     "n = Neg(k) \n r = Mul(n, c) \n t = Transpose(r) {perm: i[0, 1, 3, 2]} \n u = "
                     "Transpose(t) {perm: i[0, 1, 3, 2]} \n s = MatMul(q, u) \n" +
                     tail,
                 after("0.25",
                       "n = Neg(k) \n t = Transpose(n) {perm: i[0, 1, 3, 2]} \n u = Transpose(t) "
                       "{perm: i[0, 1, 3, 2]} \n",
                       "u"));
}

TEST(FuseAttention, NearMisses) {
  const auto kept = [](const std::string& nodes) {
    expect_kept("fuse_attention", kHead + nodes + "}");
  };
  kept("s = MatMul(q, k) \n a = Softmax(s) {axis: 2} \n y = MatMul(a, v)");  // over the queries
  kept("s = MatMul(q, k) \n a = Softmax(s) {axis: -1} \n b = Relu(a) \n y = MatMul(b, v)");
  kept(
      "s = MatMul(q, k) \n e = Mul(s, m) \n a = Softmax(e) {axis: -1} \n y = MatMul(a, v)");  // a
                                                                                              // scale
                                                                                              // for
                                                                                              // each
                                                                                              // score
  kept(
      "s = MatMul(q, k) \n e = Div(c, s) \n a = Softmax(e) {axis: -1} \n y = MatMul(a, v)");  // the
                                                                                              // inverse
                                                                                              // of
                                                                                              // the
                                                                                              // scores
  kept("s = MatMul(q, k) \n e = Sub(s, m) \n a = Softmax(e) {axis: -1} \n y = MatMul(a, v)");
  kept(
      "s = MatMul(q, k) \n e = Add(s, m) \n f = Add(e, m) \n a = Softmax(f) {axis: -1} \n y = "
      "MatMul(a, v)");  // two masks
  kept("s = MatMul(q, k) \n e = Add(s, s) \n a = Softmax(e) {axis: -1} \n y = MatMul(a, v)");
  // The softmax on the right, scores or weights read elsewhere, or an output.
  expect_kept("fuse_attention",
              "(q: f32[3,5], k: f32[5,3], v: f32[4,3]) -> (y) { s = MatMul(q, k) \n a = Softmax(s) "
              "\n y = MatMul(v, a) }");
  expect_kept("fuse_attention",
              "(q: f32[3,5], k: f32[5,3], v: f32[3,4]) -> (y, a) { s = MatMul(q, k) \n a = "
              "Softmax(s) \n y = MatMul(a, v) }");
  expect_kept("fuse_attention",
              "(q: f32[3,5], k: f32[5,3], v: f32[3,4]) -> (y, z) { s = MatMul(q, k) \n a = "
              "Softmax(s) \n y = MatMul(a, v) \n z = Relu(s) }");
  // Products with weights are linear layers: a softmax between two of them is no attention.
  expect_kept("fuse_attention",
              "(q: f32[3,5], v: f32[7,4]) -> (y) { const k: f32[5,7] = #0 \n s = MatMul(q, k) \n a "
              "= Softmax(s) \n y = MatMul(a, v) }");
  expect_kept("fuse_attention",
              "(q: f32[3,5], k: f32[5,7]) -> (y) { const v: f32[7,4] = #0 \n s = MatMul(q, k) \n a "
              "= Softmax(s) \n y = MatMul(a, v) }");
  // A mask of more rows or heads than there are scores makes more of them.
  expect_kept("fuse_attention",
              "(q: f32[2,1,5], k: f32[2,5,7], v: f32[2,7,3], m: f32[4,7]) -> (y) { s = MatMul(q, "
              "k) \n u = Add(s, m) \n a = Softmax(u) \n y = MatMul(a, v) }");
  expect_kept("fuse_attention",
              "(q: f32[1,4,5], k: f32[1,5,7], v: f32[1,7,3], m: f32[2,4,7]) -> (y) { s = MatMul(q, "
              "k) \n u = Add(s, m) \n a = Softmax(u) \n y = MatMul(a, v) }");
  expect_kept("fuse_attention",
              "(q: f32[4,5], k: f32[5,7], v: f32[7,3]) -> (y) { const c: f32[1,1,1] = {2} \n s = "
              "MatMul(q, k) \n u = Mul(s, c) \n a = Softmax(u) \n y = MatMul(a, v) }");
  expect_kept("fuse_attention",
              "(q: f64[3,5], k: f64[5,3], v: f64[3,4]) -> (y) { s = MatMul(q, k) \n a = Softmax(s) "
              "\n y = MatMul(a, v) }");
}

// A scale that is also read elsewhere stays where it is.
TEST(FuseAttention, SharedScaleStays) {
  const ir::Graph g = rewritten(
      "fuse_attention",
      graph_of("(q: f32[3,5], k: f32[5,7], v: f32[7,4]) -> (y, p) { const c: f32[] = {0.25} \n p = "
               "Mul(q, c) \n s = MatMul(p, k) \n a = Softmax(s) \n y = MatMul(a, v) }"));
  EXPECT_EQ(g.node(g.value(g.outputs[0]).producer).bodies[0]->node_count(), 3u);
}

}  // namespace
}  // namespace vitrail::passes
