// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "passes/pass_testing.h"

namespace vitrail::passes {
namespace {

// MST's attention of 2 heads of 3 channels on 5 channels, parts of it to be replaced.
struct Parts {
  std::string signature = "(x: f32[N,T,5]) -> (y)";
  std::string q = "q0 = MatMul(x, wq)", k = "k0 = MatMul(x, wk)", v = "v0 = MatMul(x, wv)";
  std::string split = "{x}2 = Reshape({x}0, heads) \n {x}3 = Transpose({x}2) {perm: i[0, 2, 3, 1]}";
  std::string qt = "";  ///< applied to q3 [b, h, d, t] before its norm
  std::string norm =
      "n{x} = ReduceL2({x}3, last) \n c{x} = Clip(n{x}, eps) \n {x}4 = Div({x}3, c{x})";
  std::string scores = "q5 = Transpose(q4) {perm: i[0, 1, 3, 2]} \n s0 = MatMul(k4, q5)";
  std::string scaled = "s1 = Mul(s0, rescale)";
  std::string mix = "a = Softmax(s1) {axis: -1} \n m0 = MatMul(a, v3)";
  std::string project =
      "m1 = Transpose(m0) {perm: i[0, 3, 1, 2]} \n m2 = Reshape(m1, tokens) \n y = MatMul(m2, wp)";
  std::string rescale = "f32[2,1,1] = {1.5, 0.5}";

  std::string text() const {
    return signature + " { symbol N input 1.. \n symbol T input 1.. \n" + nodes() + "}";
  }
  /// As a body of the fusion.
  std::string body() const { return "body (x: f32[N,T,5]) -> (y) {" + nodes() + "}"; }
  std::string nodes() const {
    std::string out = R"(
    const wq: f32[5,6] = #0
    const wk: f32[5,6] = #0
    const wv: f32[5,6] = #0
    const wp: f32[6,7] = #0
    const bias: f32[6] = #0
    const heads: i64[4] = {0, -1, 2, 3}
    const tokens: i64[3] = {0, -1, 6}
    const last: i64[1] = {-1}
    const second: i64[1] = {2}
    const eps: f32[] = {1e-12}
    const more: f32[] = {1e-6}
    const rescale: )" +
                      rescale + "\n";
    for (const std::string& line : {q, k, v, of(split, "q"), of(split, "k"), of(split, "v"), qt,
                                    of(norm, "q"), of(norm, "k"), scores, scaled, mix, project})
      out += line + "\n";
    return out;
  }
  static std::string of(std::string text, const std::string& x) {
    for (size_t at; (at = text.find("{x}")) != std::string::npos;) text.replace(at, 3, x);
    return text;
  }
};

std::string kinds(const ir::Graph& g) {
  std::string out;
  for (ir::NodeId id : g.topological_order())
    out += std::string(out.empty() ? "" : " ") + g.node(id).type();
  return out;
}

// The Gram form keeps no softmax outside of its small fusion, and reads x instead of q and k; what
// the model said stays beside it.
void becomes_gram(const Parts& parts) {
  try {
    const ir::Graph g =
        rewritten("spectral_attention", graph_of(parts.text()), {.tolerance = 1e-10});
    EXPECT_EQ(kinds(g), "spectral_attention") << parts.text();
    const auto& bodies = g.node(g.topological_order()[0]).bodies;
    ASSERT_EQ(bodies.size(), 2u);
    EXPECT_EQ(kinds(*bodies[0]), "gram spectral MatMul") << parts.text();
    EXPECT_EQ(kinds(*bodies[1]).find("gram"), std::string::npos);
  } catch (const Error& e) {
    ADD_FAILURE() << e.what() << parts.text();
  }
}

TEST(SpectralAttention, TextAfter) {
  expect_rewrite("spectral_attention", Parts().text(), R"((x: f32[N,T,5]) -> (y) {
    symbol N input 1..
    symbol T input 1..
    y: f32[N,T,7] = fusion "spectral_attention"(x) body (x: f32[N,T,5]) -> (y) {
    const wq: f32[5,6] = #0
    const wk: f32[5,6] = #0
    const wv: f32[5,6] = #0
    const wp: f32[6,7] = #0
    const rescale: f32[2] = {1.5, 0.5}
      g = fusion "gram"(x) body (x: f32[N,T,5]) -> (g) {
      t = Transpose(x) {perm: i[0, 2, 1]}
      g = MatMul(t, x)
    }
    m = fusion "spectral"(g, wq, wk, wv, rescale, wp) {eps: 1e-12, heads: 2}
        body (g: f32[N,5,5], wq: f32[5,6], wk: f32[5,6], wv: f32[5,6], r: f32[2], wp: f32[6,7]) -> (m) {
      const per_head: i64[3] = {5, 2, 3}
      const batch_head: i64[4] = {0, 5, 2, 3}
      const joined: i64[3] = {0, 5, 6}
      const factors: i64[3] = {2, 1, 1}
      const axes: i64[1] = {2}
      const zero: f32[] = {0}
      const eps: f32[] = {1e-12}
      wv0 = Reshape(wv, per_head)
      wv1 = Transpose(wv0) {perm: i[1, 0, 2]}
      wk0 = Reshape(wk, per_head)
      wk1 = Transpose(wk0) {perm: i[1, 0, 2]}
      wk2 = Transpose(wk1) {perm: i[0, 2, 1]}
      wq0 = Reshape(wq, per_head)
      wq1 = Transpose(wq0) {perm: i[1, 0, 2]}
      gq0 = MatMul(g, wq)
      gq1 = Reshape(gq0, batch_head)
      gq = Transpose(gq1) {perm: i[0, 2, 1, 3]}
      gk0 = MatMul(g, wk)
      gk1 = Reshape(gk0, batch_head)
      gk = Transpose(gk1) {perm: i[0, 2, 1, 3]}
      p = MatMul(wk2, gq)
      wk3 = Reshape(wk, per_head)
      wk4 = Transpose(wk3) {perm: i[1, 0, 2]}
      kk = Mul(gk, wk4)
      ks = ReduceSum(kk, axes) {keepdims: 1}
      kc = Clip(ks, zero)
      kr = Sqrt(kc)
      kn = Clip(kr, eps)
      kt = Transpose(kn) {perm: i[0, 1, 3, 2]}
      pk = Div(p, kt)
      qq = Mul(gq, wq1)
      qs = ReduceSum(qq, axes) {keepdims: 1}
      qc = Clip(qs, zero)
      qr = Sqrt(qc)
      qn = Clip(qr, eps)
      pq = Div(pk, qn)
      f = Reshape(r, factors)
      s = Mul(pq, f)
      a = Softmax(s) {axis: -1}
      at = Transpose(a) {perm: i[0, 1, 3, 2]}
      v = MatMul(wv1, at)
      vt = Transpose(v) {perm: i[0, 2, 1, 3]}
      vj = Reshape(vt, joined)
      m = MatMul(vj, wp)
    }
    y = MatMul(x, m)
    } )" + Parts().body() + "}",
                 {.tolerance = 1e-10});
}

TEST(SpectralAttention, Spellings) {
  becomes_gram({});
  becomes_gram({.rescale = "f32[1,2,1,1] = {1.5, 0.5}"});
  becomes_gram({.rescale = "f32[] = {1.5}"});
  becomes_gram({.scaled = "s1 = Mul(rescale, s0)"});
  // legacy: heads to the front first, then q and k are turned; norms over the tokens in between
  becomes_gram({.split = "{x}2 = Reshape({x}0, heads) \n {x}6 = Transpose({x}2) {perm: i[0, 2, 1, "
                         "3]} \n {x}3 = Transpose({x}6) {perm: i[0, 1, 3, 2]}"});
  // the norm before q is turned, over the second last axis
  becomes_gram({.q = "const before: i64[1] = {2} \n q0 = MatMul(x, wq)"});
  // no factor: remove_noops takes a Mul by 1 away
  becomes_gram(
      {.scaled = "s1 = Neg(s0)", .mix = "a = Softmax(s0) {axis: -1} \n m0 = MatMul(a, v3)"});
  // one head
  Parts one;
  one.rescale = "f32[1,1,1] = {1.5}";
  one.split = "{x}2 = Reshape({x}0, single) \n {x}3 = Transpose({x}2) {perm: i[0, 2, 3, 1]}";
  one.q = "const single: i64[4] = {0, -1, 1, 6} \n q0 = MatMul(x, wq)";
  becomes_gram(one);
  // static extents, one image
  becomes_gram({.signature = "(x: f32[1,9,5]) -> (y)"});
}

// The projection reads the tokens as an image.
TEST(SpectralAttention, ResultOfOtherExtents) {
  Parts parts;
  parts.signature = "(x: f32[N,12,5]) -> (y)";
  parts.project =
      "const image: i64[4] = {0, 3, 4, 6} \n m1 = Transpose(m0) {perm: i[0, 3, 1, 2]} \n m2 = "
      "Reshape(m1, image) \n y = MatMul(m2, wp)";
  const ir::Graph g = rewritten("spectral_attention", graph_of(parts.text()), {.tolerance = 1e-10});
  EXPECT_EQ(to_string(g.value(g.outputs[0]).shape), "[N,3,4,7]");
}

// v has other readers (MST's positional branch); its product stays beside the fused form.
TEST(SpectralAttention, ValuesReadElsewhere) {
  Parts parts;
  parts.signature = "(x: f32[N,T,5]) -> (y, z)";
  parts.project += "\n z = Relu(v0)";
  const ir::Graph g = rewritten("spectral_attention", graph_of(parts.text()), {.tolerance = 1e-10});
  EXPECT_EQ(kinds(g), "spectral_attention Relu");
  const auto& fusion = g.node(g.topological_order()[0]);
  EXPECT_EQ(fusion.outputs.size(), 2u);
  EXPECT_EQ(fusion.bodies[0]->node_count(), 4u);
}

// Where the values meet the result again, all up to there lies within: each form gets the fusions
// that it allows.
TEST(SpectralAttention, TheRegionReachesToOneResult) {
  Parts parts;
  parts.signature = "(x4: f32[N,3,4,5]) -> (y)";
  parts.q = "const flat: i64[3] = {0, 12, 5} \n x = Reshape(x4, flat) \n q0 = MatMul(x, wq)";
  parts.project =
      "m1 = Transpose(m0) {perm: i[0, 3, 1, 2]} \n m2 = Reshape(m1, tokens) \n y0 = MatMul(m2, "
      "wp) \n const wu: f32[6,7] = #0 \n u = MatMul(v0, wu) \n r = Relu(u) \n y1 = Add(y0, r) \n "
      "t = Tanh(x4) \n const wt: f32[5,7] = #0 \n tw = MatMul(t, wt) \n const wide: i64[3] = {0, "
      "12, "
      "7} \n tx = Reshape(tw, wide) \n y2 = Add(y1, tx) \n y = Relu(y2)";
  const ir::Graph g = rewritten("spectral_attention", graph_of(parts.text()), {.tolerance = 1e-10});
  EXPECT_EQ(kinds(g), "Tanh MatMul Reshape spectral_attention");
  const auto& fusion = g.node(g.topological_order().back());
  EXPECT_EQ(kinds(*fusion.bodies[0]),
            "Reshape MatMul MatMul Relu gram spectral MatMul Add Add Relu");
  EXPECT_EQ(g.value(fusion.inputs[0]).name, "x4");

  // Every pass runs in each of the bodies.
  ir::Graph fused = graph_of(parts.text());
  run(fused);
  const auto last = fused.topological_order().back();
  ASSERT_EQ(fused.node(last).family, "spectral_attention");
  const auto family = [&](size_t body) { return kinds(*fused.node(last).bodies[body]); };
  EXPECT_EQ(family(0), "Reshape gram spectral gemm gemm gemm");
  EXPECT_NE(family(1).find("softmax"), std::string::npos) << family(1);
}

void kept(const Parts& parts) { expect_kept("spectral_attention", parts.text()); }

TEST(SpectralAttention, NearMisses) {
  kept({.k = "const wide: f32[5,6] = #0 \n b0 = MatMul(x, wide) \n k0 = Relu(b0)"});  // k is no
                                                                                      // product
  kept({.q = "q00 = MatMul(x, wq) \n q0 = Add(q00, bias)"});                          // a bias on q
  kept({.k = "k00 = MatMul(x, wk) \n k0 = Add(k00, bias)"});                          // a bias on k
  kept({.signature = "(x: f32[N,T,5], u: f32[N,T,5]) -> (y)",
        .q = "q0 = MatMul(u, wq)"});  // q of another input
  kept({.signature = "(x: f32[N,T,5], u: f32[N,T,5]) -> (y)",
        .v = "v0 = MatMul(u, wv)"});  // v of another input
  kept({.signature = "(x: f32[N,T,5], w: f32[5,6]) -> (y)",
        .q = "q0 = MatMul(x, w)"});  // weights that vary
  kept({.norm = "n{x} = ReduceL2({x}3, second) \n c{x} = Clip(n{x}, eps) \n {x}4 = Div({x}3, "
                "c{x})"});  // norms over the channels
  kept(
      {.norm =
           "n{x} = ReduceL1({x}3, last) \n c{x} = Clip(n{x}, eps) \n {x}4 = Div({x}3, c{x})"});  // another norm
  kept(
      {.norm =
           "n{x} = ReduceL2({x}3, last) \n c{x} = Add(n{x}, eps) \n {x}4 = Div({x}3, c{x})"});  // epsilon added
  kept({.norm = "n{x} = ReduceL2({x}3, last) \n c{x} = Clip(n{x}, eps, more) \n {x}4 = Div({x}3, "
                "c{x})"});  // clamped on both sides
  kept(
      {.norm =
           "n{x} = ReduceL2({x}3, last) \n c{x} = Clip(n{x}, eps) \n {x}4 = Div(c{x}, {x}3)"});  // the quotient upside down
  kept({.norm = "{x}4 = Relu({x}3)"});                               // no norm
  kept({.mix = "a = Softmax(s1) {axis: 2} \n m0 = MatMul(a, v3)"});  // over k's channels
  kept({.mix = "a = Softmax(s1) {axis: -1} \n b = Transpose(a) {perm: i[0, 1, 3, 2]} \n m0 = "
               "MatMul(b, v3)"});
  kept({.rescale = "f32[3] = {1, 2, 3}"});  // a factor for each column
  kept({.project = "m1 = Transpose(m0) {perm: i[0, 3, 2, 1]} \n m2 = Reshape(m1, tokens) \n y = "
                   "MatMul(m2, wp)"});  // channels before heads
  kept({.project = "m1 = Transpose(m0) {perm: i[0, 3, 1, 2]} \n m2 = Reshape(m1, tokens) \n m3 = "
                   "Relu(m2) \n y = MatMul(m3, wp)"});
  kept({.signature = "(x: f32[N,T,5]) -> (y, a)"});   // the weights are an output
  kept({.signature = "(x: f32[N,T,5]) -> (y, m0)"});  // the mixed values are
}

// q's norm clamps elsewhere than k's.
TEST(SpectralAttention, UnequalEpsilons) {
  std::string text = Parts().text();
  const std::string clip = "cq = Clip(nq, eps)";
  text.replace(text.find(clip), clip.size(), "cq = Clip(nq, more)");
  expect_kept("spectral_attention", text);
}

// As many heads as channels of a head: a vector scales columns, not heads.
TEST(SpectralAttention, FactorOfColumnsWithAsManyHeads) {
  std::string text = Parts{.rescale = "f32[2] = {1.5, 0.5}"}.text();
  for (const auto& [from, to] : {std::pair{"{0, -1, 2, 3}", "{0, -1, 2, 2}"},
                                 {"{0, -1, 6}", "{0, -1, 4}"},
                                 {"[5,6]", "[5,4]"},
                                 {"[6,7]", "[4,7]"}})
    for (size_t at; (at = text.find(from)) != std::string::npos;)
      text.replace(at, std::string(from).size(), to);
  expect_kept("spectral_attention", text);
}

// With one head, the norm over the head's axis of one has the strides of the norm over the tokens.
TEST(SpectralAttention, NormOverTheOnlyHead) {
  Parts parts{.rescale = "f32[] = {1.5}"};
  parts.q =
      "const single: i64[4] = {0, -1, 1, 6} \n const head: i64[1] = {1} \n q0 = MatMul(x, wq)";
  parts.split = "{x}2 = Reshape({x}0, single) \n {x}3 = Transpose({x}2) {perm: i[0, 2, 3, 1]}";
  parts.norm = "n{x} = ReduceL2({x}3, head) \n c{x} = Clip(n{x}, eps) \n {x}4 = Div({x}3, c{x})";
  kept(parts);
}

// Some of the tokens have the strides of all of them.
TEST(SpectralAttention, SliceOfTheTokens) {
  const std::string bounds =
      "const b0: i64[1] = {0} \n const b1: i64[1] = {4} \n const ax: i64[1] = {1} \n";
  Parts parts{.signature = "(x: f32[1,9,5]) -> (y)"};
  parts.q = bounds + "qs = MatMul(x, wq) \n q0 = Slice(qs, b0, b1, ax)";
  parts.k = "ks = MatMul(x, wk) \n k0 = Slice(ks, b0, b1, ax)";
  kept(parts);
  Parts values{.signature = "(x: f32[1,9,5]) -> (y)"};
  values.v = bounds + "vs = MatMul(x, wv) \n v0 = Slice(vs, b0, b1, ax)";
  kept(values);
  Parts result{.signature = "(x: f32[1,9,5]) -> (y)"};
  result.project = bounds +
                   "m1 = Transpose(m0) {perm: i[0, 3, 1, 2]} \n m2 = Reshape(m1, tokens) \n m3 = "
                   "Slice(m2, b0, b1, ax) \n y = MatMul(m3, wp)";
  kept(result);
}

}  // namespace
}  // namespace vitrail::passes
