// SPDX-License-Identifier: Apache-2.0
#include "lower/lower.h"

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "ir/text_testing.h"

namespace vitrail {
namespace {

// "0[N,5,4] axes 0 1 2 inner 2 packed": an operand, what of the fusion it reads and how.
std::string text_of(const LoweredOperand& o) {
  std::string out = o.constant.defined() ? "made" : std::to_string(o.io);
  out += fmt::format("{} axes {}", to_string(o.dims), fmt::join(o.axes, " "));
  if (o.innermost >= 0) out += fmt::format(" inner {}", o.innermost);
  return out + (o.packed ? " packed" : "") + "\n";
}

struct Result {
  std::string text, why;
};

// Lowers the fusion that gives the graph's output.
Result lowered(const std::string& text) {
  const ir::Graph g = ir::graph_of(text);
  Result out;
  const auto found = lower(g, g.node(g.value(g.outputs[0]).producer), &out.why);
  if (!found) return out;
  Problem problem = found->problem;
  problem.inputs.clear();
  problem.outputs.clear();
  out.text = problem.str() + "\n";
  for (const LoweredOperand& o : found->inputs) out.text += "in " + text_of(o);
  for (const LoweredOperand& o : found->outputs) out.text += "out " + text_of(o);
  return out;
}

// "(x: ..., w: ...) -> (y) { constants; y = fusion "family"(names) body (inputs) -> (y) { nodes }
// }"
std::string fusion(const std::string& family, const std::string& inputs,
                   const std::string& constants, const std::string& names,
                   const std::string& body_inputs, const std::string& nodes) {
  return inputs + " -> (y) {\n symbol N input 1..\n symbol H input 8..\n symbol W input 8..\n" +
         constants + "\n y = fusion \"" + family + "\"(" + names + ") body " + body_inputs +
         " -> (y) {\n" + nodes + "\n } }";
}

void expect_lowered(const std::string& graph, const std::string& wanted) {
  const Result got = lowered(graph);
  EXPECT_EQ(got.why, "") << graph;
  EXPECT_EQ(got.text, wanted) << graph;
}
void expect_refused(const std::string& graph, const std::string& reason) {
  const Result got = lowered(graph);
  EXPECT_EQ(got.text, "") << graph;
  EXPECT_NE(got.why.find(reason), std::string::npos)
      << "'" << got.why << "' is not '" << reason << "' for\n"
      << graph;
}

TEST(LowerGemm, LinearWithEpilogue) {
  expect_lowered(fusion("gemm", "(x: f32[N,5,4], r: f32[N,5,6])",
                        "const w: f32[4,6] = #0 \n const b: f32[6] = #0", "x, w, b, r",
                        "(x: f32[N,5,4], w: f32[4,6], b: f32[6], r: f32[N,5,6])",
                        "p = MatMul(x, w) \n q = Add(p, b) \n g = Gelu(q) \n y = Add(g, r)"),
                 "gemm(-> epilogue@2[r3=add(r0,r1); r4=gelu(r3); r5=add(r4,r2) -> r5])\n"
                 "in 0[N,5,4] axes 0 1 2 inner 2\n"
                 "in 1[4,6] axes 0 1 packed\n"
                 "in 2[N,5,6] axes -1 -1 0\n"
                 "in 3[N,5,6] axes 0 1 2\n"
                 "out 0[N,5,6] axes 0 1 2 inner 2\n");
}

TEST(LowerGemm, BatchedOperands) {
  expect_lowered(fusion("gemm", "(x: f32[N,5,4], u: f32[3,1,4,6])", "", "x, u",
                        "(x: f32[N,5,4], u: f32[3,1,4,6])", "y = MatMul(x, u)"),
                 "gemm(->)\n"
                 "in 0[3,N,5,4] axes -1 0 1 2 inner 2\n"
                 "in 1[3,N,4,6] axes 0 -1 2 3\n"
                 "out 0[3,N,5,6] axes 0 1 2 3 inner 3\n");
  expect_lowered(fusion("gemm", "(x: f32[4])", "const w: f32[4,6] = #0", "x, w",
                        "(x: f32[4], w: f32[4,6])", "y = MatMul(x, w)"),
                 "gemm(->)\n"
                 "in 0[1,4] axes -1 0 inner 0\n"
                 "in 1[4,6] axes 0 1 packed\n"
                 "out 0[1,6] axes -1 0 inner 0\n");
}

TEST(LowerGemm, Convolution1x1) {
  expect_lowered(
      fusion("gemm", "(x: f32[N,4,H,W])", "const w: f32[6,4,1,1] = #0 \n const b: f32[6,1,1] = #0",
             "x, w, b", "(x: f32[N,4,H,W], w: f32[6,4,1,1], b: f32[6,1,1])",
             "p = Conv(x, w) \n y = Add(p, b)"),
      "gemm(-> epilogue@2[r2=add(r0,r1) -> r2])\n"
      "in 0[N,H,W,4] axes 0 2 3 1 inner 1\n"
      "in made[4,6] axes 0 1 packed\n"
      "in 2[N,H,W,6] axes -1 -1 -1 0\n"
      "out 0[N,H,W,6] axes 0 2 3 1 inner 1\n");
}

TEST(LowerGemm, Refusals) {
  expect_refused(fusion("gemm", "(x: f32[3,4], u: f32[4])", "", "x, u", "(x: f32[3,4], u: f32[4])",
                        "y = MatMul(x, u)"),
                 "a vector operand");
  expect_refused(fusion("gemm", "(x: f32[2,3,4])", "const w: f32[2,4,6] = #0", "x, w",
                        "(x: f32[2,3,4], w: f32[2,4,6])", "y = MatMul(x, w)"),
                 "a constant of rank above 2");
  expect_refused(fusion("gemm", "(x: f32[3,4])", "", "x", "(x: f32[3,4])", "y = Relu(x)"),
                 "neither MatMul nor Conv");
  expect_refused(fusion("gemm", "(x: f32[3,4])", "const w: f32[4,6] = #0", "x, w",
                        "(x: f32[3,4], w: f32[4,6])",
                        "const a: i64[] = {1} \n p = MatMul(x, w) \n y = CumSum(p, a)"),
                 "CumSum is no pointwise instruction");
  expect_refused(fusion("gemm", "(x: f32[N,4,5,7], w: f32[6,4,1,1])", "", "x, w",
                        "(x: f32[N,4,5,7], w: f32[6,4,1,1])", "y = Conv(x, w)"),
                 "the weight is not a float32 constant");
}

TEST(LowerConv, Windows) {
  expect_lowered(
      fusion(
          "conv", "(x: f32[N,4,H,W])", "const w: f32[6,2,3,5] = #0", "x, w",
          "(x: f32[N,4,H,W], w: f32[6,2,3,5])",
          "y = Conv(x, w) {group: 2, pads: i[1, 2, 0, 3], strides: i[2, 1], dilations: i[1, 2]}"),
      "conv(-> dilation_h=1 dilation_w=2 group=2 pad_bottom=0 pad_left=2 pad_right=3 pad_top=1 "
      "stride_h=2 stride_w=1)\n"
      "in 0[N,H,W,4] axes 0 2 3 1\n"
      "in 1[6,2,3,5] axes 0 1 2 3 packed\n"
      "out 0[N,floordiv(H,2),W+-3,6] axes 0 2 3 1 inner 1\n");
  expect_lowered(
      fusion(
          "depthwise", "(x: f32[N,4,8,7])", "const w: f32[4,1,3,3] = #0", "x, w",
          "(x: f32[N,4,8,7], w: f32[4,1,3,3])",
          "p = Conv(x, w) {group: 4, auto_pad: \"SAME_LOWER\", strides: i[2, 2]} \n y = Relu(p)"),
      "depthwise(-> dilation_h=1 dilation_w=1 group=4 pad_bottom=0 pad_left=1 pad_right=1 "
      "pad_top=1 stride_h=2 stride_w=2 epilogue@2[r1=relu(r0) -> r1])\n"
      "in 0[N,8,7,4] axes 0 2 3 1 inner 1\n"
      "in 1[4,1,3,3] axes 0 1 2 3 packed\n"
      "out 0[N,4,4,4] axes 0 2 3 1 inner 1\n");
  expect_lowered(
      fusion("conv_transpose", "(x: f32[N,4,H,W])", "const w: f32[4,3,2,2] = #0", "x, w",
             "(x: f32[N,4,H,W], w: f32[4,3,2,2])", "y = ConvTranspose(x, w) {strides: i[2, 2]}"),
      "conv_transpose(-> dilation_h=1 dilation_w=1 group=1 pad_bottom=0 pad_left=0 pad_right=0 "
      "pad_top=0 stride_h=2 stride_w=2)\n"
      "in 0[N,H,W,4] axes 0 2 3 1 inner 1\n"
      "in 1[4,3,2,2] axes 0 1 2 3 packed\n"
      "out 0[N,2*H,2*W,3] axes 0 2 3 1 inner 1\n");
}

TEST(LowerConv, Refusals) {
  expect_refused(fusion("conv", "(x: f32[N,4,9])", "const w: f32[6,4,3] = #0", "x, w",
                        "(x: f32[N,4,9], w: f32[6,4,3])", "y = Conv(x, w)"),
                 "1-D window");
  expect_refused(
      fusion("conv", "(x: f32[N,4,H,W])", "const w: f32[6,4,3,3] = #0", "x, w",
             "(x: f32[N,4,H,W], w: f32[6,4,3,3])", "y = Conv(x, w) {auto_pad: \"SAME_UPPER\"}"),
      "auto_pad on a symbolic extent");
  expect_refused(fusion("conv", "(x: f32[N,4,9,9], w: f32[6,4,3,3])", "", "x, w",
                        "(x: f32[N,4,9,9], w: f32[6,4,3,3])", "y = Conv(x, w)"),
                 "the weight is not a float32 constant");
  expect_refused(
      fusion("conv", "(x: f32[N,4,9,9])", "const w: f32[6,4,3,3] = #0 \n const b: f32[6] = #0",
             "x, w, b", "(x: f32[N,4,9,9], w: f32[6,4,3,3], b: f32[6])", "y = Conv(x, w, b)"),
      "the bias was not split off");
  expect_refused(fusion("conv_transpose", "(x: f32[N,4,9,9])", "const w: f32[4,3,2,2] = #0", "x, w",
                        "(x: f32[N,4,9,9], w: f32[4,3,2,2])",
                        "y = ConvTranspose(x, w) {strides: i[2, 2], output_shape: i[18, 18]}"),
                 "output_shape or auto_pad");
}

TEST(LowerAttention, ScaleAndMask) {
  const std::string io = "(q: f32[N,2,7,5], k: f32[N,2,5,9], v: f32[N,2,9,3], m: f32[7,9])";
  expect_lowered(
      fusion("attention", io, "const c: f32[] = {0.5} \n const d: f32[] = {4}", "q, k, v, m, c, d",
             "(q: f32[N,2,7,5], k: f32[N,2,5,9], v: f32[N,2,9,3], m: f32[7,9], c: f32[], d: f32[])",
             "s = MatMul(q, k) \n t = Mul(s, c) \n e = Div(t, d) \n u = Add(m, e) \n a = "
             "Softmax(u) \n y = MatMul(a, v)"),
      "attention(-> has_mask=1 scale=0.125)\n"
      "in 0[N,2,7,5] axes 0 1 2 3 inner 3\n"
      "in 1[N,2,9,5] axes 0 1 3 2 inner 2\n"
      "in 2[N,2,9,3] axes 0 1 2 3 inner 3\n"
      "in 3[N,2,7,9] axes -1 -1 0 1\n"
      "out 0[N,2,7,3] axes 0 1 2 3 inner 3\n");
  // one set of keys for all images
  expect_lowered(fusion("attention", "(q: f32[N,7,5], k: f32[1,5,9], v: f32[1,9,3])", "", "q, k, v",
                        "(q: f32[N,7,5], k: f32[1,5,9], v: f32[1,9,3])",
                        "s = MatMul(q, k) \n a = Softmax(s) \n y = MatMul(a, v)"),
                 "attention(-> has_mask=0 scale=1)\n"
                 "in 0[N,7,5] axes 0 1 2 inner 2\n"
                 "in 1[N,9,5] axes -1 2 1 inner 1\n"
                 "in 2[N,9,3] axes -1 1 2 inner 2\n"
                 "out 0[N,7,3] axes 0 1 2 inner 2\n");
}

TEST(LowerAttention, Refusals) {
  const std::string io = "(q: f32[N,2,7,5], k: f32[N,2,5,9], v: f32[N,2,9,3], m: f32[7,9])",
                    names = "q, k, v, m";
  const auto refused = [&](const std::string& nodes, const std::string& reason) {
    expect_refused(fusion("attention", io, "const c: f32[] = {0.5}", names + ", c",
                          io.substr(0, io.size() - 1) + ", c: f32[])", nodes),
                   reason);
  };
  refused("s = MatMul(q, k) \n y = MatMul(s, v)", "no Softmax in the body");
  refused(
      "s = MatMul(q, k) \n u = Add(s, m) \n t = Mul(u, c) \n a = Softmax(t) \n y = MatMul(a, v)",
      "Add between the products");
  refused("s = MatMul(q, k) \n u = Relu(s) \n a = Softmax(u) \n y = MatMul(a, v)",
          "Relu between the products");
  refused("a = Softmax(q) \n y = MatMul(a, k)", "no MatMul before the Softmax");
  refused("s = MatMul(q, k) \n y = Softmax(s)", "no MatMul after the Softmax");
  expect_refused(fusion("attention", "(q: f32[2,7,5], k: f32[5,9], v: f32[2,9,3])", "", "q, k, v",
                        "(q: f32[2,7,5], k: f32[5,9], v: f32[2,9,3])",
                        "s = MatMul(q, k) \n a = Softmax(s) \n y = MatMul(a, v)"),
                 "operands of different rank");
}

TEST(LowerRows, NormsAndSoftmax) {
  expect_lowered(
      fusion("layernorm", "(x: f32[N,5,8])", "const s: f32[8] = #0 \n const b: f32[8] = #0",
             "x, s, b", "(x: f32[N,5,8], s: f32[8], b: f32[8])",
             "y = LayerNormalization(x, s, b) {axis: 2, epsilon: 1e-6}"),
      "layernorm(-> has_bias=1 has_scale=1 eps=1e-06)\n"
      "in 0[N,5,8] axes 0 1 2 inner 2\n"
      "in 1[8] axes 0 inner 0\n"
      "in 2[8] axes 0 inner 0\n"
      "out 0[N,5,8] axes 0 1 2 inner 2\n");
  expect_lowered(
      fusion("softmax", "(x: f32[N,5,8])", "", "x", "(x: f32[N,5,8])", "y = Softmax(x) {axis: 1}"),
      "softmax(->)\n"
      "in 0[N,8,5] axes 0 2 1 inner 1\n"
      "out 0[N,8,5] axes 0 2 1 inner 1\n");
  expect_refused(fusion("layernorm", "(x: f32[N,5,8])", "const s: f32[5,8] = #0", "x, s",
                        "(x: f32[N,5,8], s: f32[5,8])", "y = LayerNormalization(x, s) {axis: 1}"),
                 "more than the last axis");
  expect_refused(fusion("softmax", "(x: f32[N,5,8])", "", "x", "(x: f32[N,5,8])", "y = Relu(x)"),
                 "no Softmax in the body");
}

TEST(LowerReduce, AxesAsBits) {
  expect_lowered(fusion("reduce", "(x: f32[N,5,8])", "const a: i64[2] = {-1, 0}", "x, a",
                        "(x: f32[N,5,8], a: i64[2])", "y = ReduceMean(x, a)"),
                 "reduce(-> axes=5 op=1)\n"
                 "in 0[N,5,8] axes 0 1 2\n"
                 "out 0[1,5,1] axes 0 1 2\n");
  expect_lowered(fusion("reduce", "(x: f32[N,5,8,8])", "", "x", "(x: f32[N,5,8,8])",
                        "y = GlobalAveragePool(x)"),
                 "reduce(-> axes=12 op=1)\n"
                 "in 0[N,5,8,8] axes 0 1 2 3\n"
                 "out 0[N,5,1,1] axes 0 1 2 3\n");
  expect_lowered(fusion("reduce", "(x: f32[N,5])", "", "x", "(x: f32[N,5])", "y = ReduceMax(x)"),
                 "reduce(-> axes=3 op=2)\n"
                 "in 0[N,5] axes 0 1\n"
                 "out 0[1,1] axes 0 1\n");
  expect_refused(fusion("reduce", "(x: f32[N,5,8])", "const a: i64[1] = {1}", "x, a",
                        "(x: f32[N,5,8], a: i64[1])", "y = ReduceMean(x, a) {keepdims: 0}"),
                 "keepdims 0 was not split off");
  expect_refused(
      fusion("reduce", "(x: f32[N,5,8])", "const a: i64[0] = {}", "x, a",
             "(x: f32[N,5,8], a: i64[0])", "y = ReduceSum(x, a) {noop_with_empty_axes: 1}"),
      "reduces nothing");
  expect_refused(fusion("reduce", "(x: f32[N,5,8])", "", "x", "(x: f32[N,5,8])", "y = Relu(x)"),
                 "no reduction in the body");
}

TEST(LowerPad, BeforeAndMode) {
  expect_lowered(
      fusion(
          "pad", "(x: f32[N,3,H,W])",
          "const p: i64[4] = {1, 2, 0, 3} \n const a: i64[2] = {-1, 2} \n const v: f32[] = {0.5}",
          "x, p, v, a", "(x: f32[N,3,H,W], p: i64[4], v: f32[], a: i64[2])", "y = Pad(x, p, v, a)"),
      "pad(-> before0=0 before1=0 before2=2 before3=1 mode=0 value=0.5)\n"
      "in 0[N,3,H,W] axes 0 1 2 3\n"
      "out 0[N,3,H+5,W+1] axes 0 1 2 3\n");
  expect_lowered(fusion("pad", "(x: f32[1,5])", "const p: i64[4] = {0, 1, 0, 2}", "x, p",
                        "(x: f32[1,5], p: i64[4])", "y = Pad(x, p) {mode: \"reflect\"}"),
                 "pad(-> before0=0 before1=1 mode=1)\n"
                 "in 0[1,5] axes 0 1\n"
                 "out 0[1,8] axes 0 1\n");
  expect_refused(fusion("pad", "(x: f32[1,5])", "const p: i64[4] = {0, -1, 0, 2}", "x, p",
                        "(x: f32[1,5], p: i64[4])", "y = Pad(x, p)"),
                 "a negative pad");
  expect_refused(fusion("pad", "(x: f32[1,5], v: f32[])", "const p: i64[4] = {0, 1, 0, 2}",
                        "x, p, v", "(x: f32[1,5], p: i64[4], v: f32[])", "y = Pad(x, p, v)"),
                 "the value is not constant");
}

TEST(LowerPointwise, ProgramsAndBroadcasts) {
  expect_lowered(
      fusion("pointwise", "(x: f32[N,3,5], u: f32[3,1], v: f32[1])", "const c: f32[] = {0.25}",
             "x, u, v, c", "(x: f32[N,3,5], u: f32[3,1], v: f32[1], c: f32[])",
             "a = Mul(x, u) \n b = Add(a, v) \n d = Clip(b, c) \n y = Swish(d) {alpha: 1.5}"),
      "pointwise(-> epilogue@1[r3=mul(r0,r1); r4=add(r3,r2); r5=constant(0.25); r6=max(r4,r5); "
      "r7=swish(r6,1.5) -> r7])\n"
      "in 0[N,3,5] axes 0 1 2\n"
      "in 1[N,3,5] axes -1 0 -1\n"
      "in 2[N,3,5] axes -1 -1 -1\n"
      "out 0[N,3,5] axes 0 1 2\n");
  expect_refused(fusion("pointwise", "(x: f32[3,5])", "", "x", "(x: f32[3,5])",
                        "a = Relu(x) \n y = Softmax(a)"),
                 "Softmax is no pointwise instruction");
  expect_refused(fusion("pointwise", "(x: i64[3,5])", "", "x", "(x: i64[3,5])", "y = Neg(x)"),
                 "Neg reads i64");
  expect_refused(fusion("pointwise", "(x: f32[3,5])", "", "x", "(x: f32[3,5])",
                        "const k: f32[5] = #0 \n y = Add(x, k)"),
                 "a body constant that is no scalar");
}

TEST(LowerGram, TokensAndMixing) {
  expect_lowered(fusion("gram", "(x: f32[N,9,4])", "", "x", "(x: f32[N,9,4])",
                        "t = Transpose(x) {perm: i[0, 2, 1]} \n y = MatMul(t, x)"),
                 "gram(->)\n"
                 "in 0[N,9,4] axes 0 1 2 inner 2\n"
                 "out 0[N,4,4] axes 0 1 2 inner 2\n");
  expect_refused(fusion("gram", "(x: f32[9,4])", "", "x", "(x: f32[9,4])",
                        "t = Transpose(x) \n y = MatMul(t, x)"),
                 "the tokens are not [b, t, c]");
}

TEST(Lower, UnknownFamilies) {
  expect_refused(fusion("teapot", "(x: f32[3,5])", "", "x", "(x: f32[3,5])", "y = Relu(x)"),
                 "no lowering for family 'teapot'");
}

}  // namespace
}  // namespace vitrail
