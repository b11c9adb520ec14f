// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "passes/pass_testing.h"

namespace vitrail::passes {
namespace {

const std::string kHead = R"((x: f32[N,5,4], r: f32[N,5,6]) -> (y) {
    symbol N input 1..
    const w: f32[4,6] = #0
    const b: f32[6] = {1, 2, 3, 4, 5, 6}
)";

TEST(FuseEpilogue, BiasActivationResidual) {
  expect_rewrite(
      "fuse_epilogue",
      kHead + "p = MatMul(x, w) \n q = Add(p, b) \n g = Gelu(q) \n y = Add(r, g) }",
      kHead +
          R"(y = fusion "gemm"(x, w, b, r) body (x: f32[N,5,4], w: f32[4,6], b: f32[6], r: f32[N,5,6]) -> (y) {
      p = MatMul(x, w)
      q = Add(p, b)
      g = Gelu(q)
      y = Add(r, g)
    } })");
}

// Every family that finishes elements one by one takes what follows.
TEST(FuseEpilogue, Anchors) {
  const auto fuses = [](const std::string& family, const std::string& signature,
                        const std::string& constants, const std::string& anchor,
                        const std::string& names, const std::string& inputs) {
    const std::string head = signature + " -> (y) { symbol N input 1.. \n" + constants;
    expect_rewrite("fuse_epilogue", head + "a = " + anchor + " \n y = Relu(a) }",
                   head + "y = fusion \"" + family + "\"(" + names + ") body " + inputs +
                       " -> (y) { a = " + anchor + " \n y = Relu(a) } }");
  };
  fuses("conv", "(x: f32[N,4,5,7])", "const w: f32[3,4,3,3] = #0 \n", "Conv(x, w)", "x, w",
        "(x: f32[N,4,5,7], w: f32[3,4,3,3])");
  fuses("depthwise", "(x: f32[N,4,5,7])", "const w: f32[4,1,3,3] = #0 \n", "Conv(x, w) {group: 4}",
        "x, w", "(x: f32[N,4,5,7], w: f32[4,1,3,3])");
  fuses("gemm", "(x: f32[N,4,5,7])", "const w: f32[3,4,1,1] = #0 \n", "Conv(x, w)", "x, w",
        "(x: f32[N,4,5,7], w: f32[3,4,1,1])");
  fuses("conv", "(x: f32[N,4,5,7])", "const w: f32[3,4,1,1] = #0 \n",
        "Conv(x, w) {strides: i[2, 2]}", "x, w", "(x: f32[N,4,5,7], w: f32[3,4,1,1])");
  fuses("conv_transpose", "(x: f32[N,4,5,7])", "const w: f32[4,3,2,2] = #0 \n",
        "ConvTranspose(x, w) {strides: i[2, 2]}", "x, w", "(x: f32[N,4,5,7], w: f32[4,3,2,2])");
  fuses("layernorm", "(x: f32[N,5])", "const s: f32[5] = #0 \n", "LayerNormalization(x, s)", "x, s",
        "(x: f32[N,5], s: f32[5])");
  fuses("softmax", "(x: f32[N,5])", "", "Softmax(x)", "x", "(x: f32[N,5])");
  fuses("reduce", "(x: f32[N,5])", "const axes: i64[1] = {1} \n", "ReduceMean(x, axes)", "x, axes",
        "(x: f32[N,5], axes: i64[1])");
}

// An attention's body takes what follows it, not its fusion.
TEST(FuseEpilogue, Attention) {
  const std::string body = "s = MatMul(q, k) \n a = Softmax(s) \n p = MatMul(a, v) \n";
  const std::string head =
      "(q: f32[N,5], k: f32[5,7], v: f32[7,4], r: f32[N,4]) -> (y) { symbol N input 1.. \n";
  expect_rewrite("fuse_epilogue",
                 head +
                     "o = fusion \"attention\"(q, k, v) body (q: f32[N,5], k: f32[5,7], v: "
                     "f32[7,4]) -> (p) {" +
                     body + "} \n y = Add(o, r) }",
                 head +
                     "y = fusion \"attention\"(q, k, v, r) body (q: f32[N,5], k: f32[5,7], v: "
                     "f32[7,4], r: f32[N,4]) -> (y) {" +
                     body + "y = Add(p, r) } }");
}

TEST(FuseEpilogue, NearMisses) {
  const auto kept = [](const std::string& nodes, const std::string& head = kHead) {
    expect_kept("fuse_epilogue", head + nodes + "}");
  };
  kept("y = MatMul(x, w)");                                         // nothing follows
  kept("p = MatMul(x, w) \n y = Mul(p, p)");                        // read twice by one node
  kept("p = MatMul(x, w) \n g = Sigmoid(p) \n y = Mul(p, g)");      // read by two nodes
  kept("p = MatMul(x, w) \n y = Transpose(p) {perm: i[0, 2, 1]}");  // not elementwise
  kept("p = MatMul(x, w) \n y = Cast(p) {to: 11}");
  kept("p = MatMul(x, w) \n c = Cast(p) {to: 7} \n y = Neg(c)");
  // The product is an output itself.
  kept("p = MatMul(x, w) \n y = Relu(p)", "(x: f32[3,4]) -> (y, p) { const w: f32[4,6] = #0 \n");
  // The result broadcasts to a larger shape.
  kept("p = MatMul(x, w) \n y = Add(p, r)",
       "(x: f32[1,4], r: f32[5,6]) -> (y) { const w: f32[4,6] = #0 \n");
  kept("p = MatMul(x, w) \n y = Add(p, r)",
       "(x: f32[3,4], r: f32[1,3,6]) -> (y) { const w: f32[4,6] = #0 \n");
  // Doubles are no kernel's.
  kept("p = MatMul(x, w) \n y = Relu(p)", "(x: f64[3,4]) -> (y) { const w: f64[4,6] = #0 \n");
}

// Two products meet in a sum: one takes it, the other is its residual.
TEST(FuseEpilogue, OnlyOneOfTwoTakesTheSum) {
  const ir::Graph g = rewritten(
      "fuse_epilogue",
      graph_of("(x: f32[3,4]) -> (y) { const w: f32[4,6] = #0 \n const v: f32[4,6] = #0 \n p = "
               "MatMul(x, w) \n q = MatMul(x, v) \n s = Add(p, q) \n y = Relu(s) }"));
  EXPECT_EQ(g.node_count(), 2u);
}

}  // namespace
}  // namespace vitrail::passes
