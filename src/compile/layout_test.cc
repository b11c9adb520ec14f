// SPDX-License-Identifier: Apache-2.0
#include "compile/layout.h"

#include <gtest/gtest.h>

#include "compile/compile.h"
#include "ir/text_testing.h"
#include "passes/pipeline.h"

namespace vitrail {
namespace {

// A graph after all passes, laid out.
class LaidOut {
 public:
  explicit LaidOut(const std::string& text, const Bindings& opt = {}, bool gpu = false)
      : graph_(ir::graph_of(text)) {
    passes::run(graph_);
    std::vector<Refused> refused;
    layout_ = lay_out(graph_, opt, refused, {}, gpu);
    EXPECT_TRUE(refused.empty()) << (refused.empty() ? "" : refused[0].why) << "\n" << text;
    never_writes_inputs();
  }

  std::vector<std::string> copies() const {
    std::vector<std::string> out;
    for (const LaidStep& step : layout_.steps)
      if (step.kind == LaidStep::Kind::launch && !step.node.valid()) out.push_back(step.name);
    return out;
  }
  // The step of a family, the n-th one.
  const LaidStep& step(const std::string& family, size_t n = 0) const {
    for (const LaidStep& s : layout_.steps)
      if (s.lowered.problem.family == family && n-- == 0) return s;
    fail(Code::internal, "no step of family {}", family);
  }
  size_t steps() const { return layout_.steps.size(); }
  const LaidBuffer& buffer(const ir::Storage& s) const {
    return layout_.buffers[static_cast<size_t>(s.buffer)];
  }

 private:
  void never_writes_inputs() const {
    for (const LaidStep& s : layout_.steps)
      for (const ir::Storage& out : s.outputs) {
        if (out.buffer < 0) continue;
        EXPECT_NE(buffer(out).kind, LaidBuffer::Kind::input) << s.name;
        EXPECT_NE(buffer(out).kind, LaidBuffer::Kind::constant) << s.name;
      }
  }

  ir::Graph graph_;
  Layout layout_;
};

using Names = std::vector<std::string>;
constexpr auto kOutput = LaidBuffer::Kind::output;
constexpr auto kInput = LaidBuffer::Kind::input;

TEST(Layout, ConcatIsWrittenInPlace) {
  const LaidOut laid(R"((x: f32[N,5,4]) -> (y) {
    symbol N input 1..
    const w: f32[4,6] = #0
    const v: f32[4,3] = #0
    p = MatMul(x, w)
    q = MatMul(x, v)
    y = Concat(p, q) {axis: -1}
  })",
                     {{"N", 2}});
  EXPECT_EQ(laid.copies(), Names());
  const ir::Storage &p = laid.step("gemm", 0).outputs[0], &q = laid.step("gemm", 1).outputs[0];
  EXPECT_EQ(p.buffer, q.buffer);
  EXPECT_EQ(laid.buffer(p).kind, kOutput);
  EXPECT_EQ(to_string(p.strides), "[45,9,1]");
  EXPECT_TRUE(p.offset.is(0));
  EXPECT_TRUE(q.offset.is(6));
}

// Rows of 13 channels lie in 16 on a GPU, but not where the model's output then needs a copy.
TEST(Layout, RowsAreFilledUpOnGpus) {
  const char* const text = R"((x: f32[N,5,4]) -> (y, z) {
    symbol N input 1..
    const w: f32[4,13] = #0
    const v: f32[13,3] = #0
    const u: f32[4,13] = #0
    const s: i64[2] = {-1, 13}
    p = MatMul(x, w)
    y = MatMul(p, v)
    q = MatMul(x, u)
    z = Reshape(q, s)
  })";
  for (const bool gpu : {false, true}) {
    const LaidOut laid(text, {{"N", 2}}, gpu);
    EXPECT_EQ(laid.copies(), Names());
    EXPECT_EQ(to_string(laid.step("gemm", 0).outputs[0].strides), gpu ? "[80,16,1]" : "[65,13,1]");
    EXPECT_EQ(to_string(laid.step("gemm", 2).outputs[0].strides), "[65,13,1]");
  }
}

// CvT: a class token before the convolution's tokens. The tokens go straight into the window, for
// one image (whose batch has no stride to speak of) as for many; the token itself, a weight, is
// copied.
TEST(Layout, ClassTokenAndConvolutionShareMemory) {
  for (const char* batch : {"1", "N"}) {
    const std::string text = std::string("(x: f32[") + batch + R"(,5,7,8]) -> (y) {
      symbol N input 1..
      const w: f32[8,1,3,3] = #0
      const token: f32[1,1,8] = #0
      const s: f32[8] = #0
      const flat: i64[3] = {0, 8, 35}
      i = Transpose(x) {perm: i[0, 3, 1, 2]}
      c = Conv(i, w) {group: 8, pads: i[1, 1, 1, 1]}
      r = Reshape(c, flat)
      t = Transpose(r) {perm: i[0, 2, 1]}
      image = Shape(x) {start: 0, end: 1}
      rest = Shape(token) {start: 1}
      full = Concat(image, rest) {axis: 0}
      e = Expand(token, full)
      z = Concat(e, t) {axis: 1}
      y = LayerNormalization(z, s)
    })";
    const LaidOut laid(text, {{"N", 2}});
    EXPECT_EQ(laid.copies().size(), 1u) << text;
    EXPECT_EQ(laid.step("depthwise").outputs[0].buffer, laid.step("layernorm").inputs[0].buffer);
    EXPECT_TRUE(laid.step("depthwise").outputs[0].offset.is(8));
  }
}

TEST(Layout, ConcatCopiesWhatItMustNotOrCannotOwn) {
  // a session's input, the same value twice, a constant
  EXPECT_EQ(LaidOut("(x: f32[3,5]) -> (y) { a = Relu(x) \n y = Concat(a, x) {axis: 0} }").copies(),
            Names({"copy x"}));
  EXPECT_EQ(
      LaidOut("(x: f32[3,5]) -> (y) { a = Relu(x) \n y = Concat(a, a) {axis: 0} }").copies().size(),
      1u);
  EXPECT_EQ(LaidOut("(x: f32[3,5]) -> (y) { const c: f32[1,5] = #0 \n a = Relu(x) \n y = Concat(a, "
                    "c) {axis: 0} }")
                .copies(),
            Names({"copy c"}));
  // a part that is an output of its own: the window stays in place, the output is a copy of it
  EXPECT_EQ(LaidOut("(x: f32[3,5]) -> (y, a) { a = Relu(x) \n y = Concat(a, x) {axis: 0} }")
                .copies()
                .size(),
            2u);
}

// The norm needs channels last; the sum takes any strides, and reads the copy that is there.
TEST(Layout, ACopyThatIsThereServesEveryReader) {
  const LaidOut laid(R"((x: f32[1,4,3,5]) -> (y) {
    const s: f32[4] = #0
    const w: f32[4,4] = #0
    t = Transpose(x) {perm: i[0, 2, 3, 1]}
    n = LayerNormalization(t, s)
    g = MatMul(n, w)
    y = Add(g, t)
  })");
  EXPECT_EQ(laid.copies(), Names({"copy t"}));
  const LaidStep& gemm = laid.step("gemm");
  EXPECT_EQ(gemm.inputs.back().buffer, laid.step("layernorm").inputs[0].buffer);
}

// A Concat of Concats: the inner one is a window of the outer one.
TEST(Layout, NestedConcats) {
  const LaidOut laid(
      "(x: f32[3,5]) -> (y) { a = Relu(x) \n b = Neg(x) \n c = Sin(x) \n i = Concat(b, c) {axis: "
      "0} \n y = Concat(a, i) {axis: 0} }");
  EXPECT_EQ(laid.copies(), Names());
  EXPECT_TRUE(laid.step("pointwise", 1).outputs[0].offset.is(15));
  EXPECT_TRUE(laid.step("pointwise", 2).outputs[0].offset.is(30));
}

TEST(Layout, ViewsCostNothing) {
  const LaidOut laid(R"((x: f32[4,6,5]) -> (y) {
    const b: i64[1] = {1}
    const e: i64[1] = {5}
    const ax: i64[1] = {1}
    const st: i64[1] = {2}
    const s: i64[4] = {2, 2, 5, 2}
    const last: i64[1] = {-1}
    i = Slice(x, b, e, ax, st)
    t = Transpose(i) {perm: i[0, 2, 1]}
    r = Reshape(t, s)
    y = ReduceMax(r, last)
  })");
  EXPECT_EQ(laid.copies(), Names());
  EXPECT_EQ(laid.steps(), 1u);
  const ir::Storage& in = laid.step("reduce").inputs[0];
  EXPECT_EQ(laid.buffer(in).kind, kInput);
  EXPECT_TRUE(in.offset.is(5));
  EXPECT_EQ(to_string(in.strides), "[60,30,1,10]");
}

TEST(Layout, SplitAndExpandAreViews) {
  const LaidOut laid(
      "(x: f32[4,6], u: f32[1,3]) -> (y) { const s: i64[2] = {4, 3} \n a, b = Split(x) {axis: 1} "
      "\n e = Expand(u, s) \n m = Mul(a, e) \n y = Add(m, b) }");
  EXPECT_EQ(laid.copies(), Names());
  EXPECT_EQ(laid.steps(), 1u);
}

// Elements in another order than memory has them: one copy, and only one for several readers.
TEST(Layout, ReshapeAcrossATransposeMovesElementsOnce) {
  const LaidOut laid(
      "(x: f32[4,6,5]) -> (y, z) { const s: i64[2] = {4, 30} \n const a: i64[1] = {0} \n const b: "
      "i64[1] = {1} \n t = Transpose(x) {perm: i[0, 2, 1]} \n r = Reshape(t, s) \n y = "
      "ReduceMax(r, a) \n z = ReduceMax(r, b) }");
  EXPECT_EQ(laid.copies().size(), 1u);
}

// The kernel before a Transpose writes in the order that the reader wants.
TEST(Layout, OrdersFollowReaders) {
  const LaidOut laid(
      "(x: f32[2,3,5]) -> (y) { const s: i64[2] = {2, 15} \n a = Sin(x) \n t = Transpose(a) {perm: "
      "i[0, 2, 1]} \n r = Reshape(t, s) \n y = Softmax(r) }");
  EXPECT_EQ(laid.copies(), Names());
}

TEST(Layout, OutputsAreWrittenDirectly) {
  const LaidOut direct("(x: f32[3,5]) -> (y) { y = Relu(x) }");
  EXPECT_EQ(direct.copies(), Names());
  EXPECT_EQ(direct.buffer(direct.step("pointwise").outputs[0]).kind, kOutput);
  EXPECT_EQ(LaidOut("(x: f32[3,5]) -> (y) { const s: i64[2] = {5, 3} \n a = Softmax(x) \n y = "
                    "Reshape(a, s) }")
                .copies(),
            Names());
  // as a pointwise kernel may choose the order, a Transpose before the output costs nothing
  EXPECT_EQ(LaidOut("(x: f32[3,5]) -> (y) { a = Sin(x) \n y = Transpose(a) }").copies(), Names());
  // an output that is read again is no other memory
  const LaidOut read(
      "(x: f32[3,5]) -> (y, z) { const a: i64[1] = {0} \n y = Softmax(x) \n z = ReduceMax(y, a) }");
  EXPECT_EQ(read.copies(), Names());
  EXPECT_EQ(read.step("reduce").inputs[0].buffer, read.step("softmax").outputs[0].buffer);
}

TEST(Layout, OutputsThatAreOthersMemory) {
  // an input, a view of an input, a constant, two outputs of one value
  EXPECT_EQ(LaidOut("(x: f32[3,5]) -> (y) { y = Identity(x) }").copies().size(), 1u);
  EXPECT_EQ(LaidOut("(x: f32[3,5]) -> (y) { y = Transpose(x) }").copies().size(), 1u);
  EXPECT_EQ(
      LaidOut("(x: f32[3,5]) -> (y) { const c: f32[2] = #0 \n y = Identity(c) }").copies().size(),
      1u);
  EXPECT_EQ(LaidOut("(x: f32[3,5]) -> (y, z) { y = Relu(x) \n z = Identity(y) }").copies().size(),
            1u);
  // a part of a value
  EXPECT_EQ(LaidOut("(x: f32[4,5]) -> (y, z) { a = Relu(x) \n y, z = Split(a) {axis: 0} }")
                .copies()
                .size(),
            2u);
}

// Shape glue of what is known as expressions takes no step.
TEST(Layout, ShapeGlueTakesNoStep) {
  const LaidOut laid(R"((x: f32[N,4,6]) -> (y) {
    symbol N input 1..
    const i: i64[1] = {0}
    const m: i64[1] = {-1}
    s = Shape(x)
    n = Gather(s, i)
    t = Concat(n, m) {axis: 0}
    r = Reshape(x, t)
    y = Relu(r)
  })",
                     {{"N", 2}});
  EXPECT_EQ(laid.steps(), 1u);
}

// --- from graph to plan -----------------------------------------------------------------------

BuildReport built(const std::string& text, BuildOptions options = {}) {
  BuildReport report;
  options.tune = false;
  options.verify = VerifyLevel::fast;  // the results are compared with the oracle's
  build_plan(ir::graph_of(text), options, report);
  for (const CheckRow& row : report.verification) EXPECT_TRUE(row.ok) << text;
  EXPECT_FALSE(report.verification.empty());
  return report;
}

TEST(MakePlan, RefusedFusionsRunAsTheirParts) {
  // no family has a one-dimensional window; what follows it is fused for itself
  const BuildReport report = built(
      "(x: f32[2,4,9]) -> (y) { const w: f32[6,4,3] = #0 \n const b: f32[6] = #0 \n c = Conv(x, w, "
      "b) \n y = Relu(c) }");
  EXPECT_EQ(report.kernels, (std::map<std::string, int>{{"pointwise", 1}, {"reference Conv", 1}}));
  // weights that vary: the account says why
  const BuildReport varying =
      built("(x: f32[2,4,9,9], w: f32[6,4,3,3]) -> (y) { c = Conv(x, w) \n y = Relu(c) }");
  EXPECT_EQ(varying.kernels, (std::map<std::string, int>{{"pointwise", 1}, {"reference Conv", 1}}));
  ASSERT_FALSE(varying.lines.empty());
  EXPECT_NE(
      varying.lines[0].find("not fused as conv: 'y' because the weight is not a float32 constant"),
      std::string::npos)
      << varying.lines[0];
}

TEST(MakePlan, AccountOfAttentions) {
  const std::string head =
      "(q: f32[2,3,7,5], k: f32[2,3,5,9], v: f32[2,3,9,4]) -> (y) { s = MatMul(q, k) \n ";
  EXPECT_EQ(built(head + "a = Softmax(s) \n y = MatMul(a, v) }").lines,
            Names({"fused: 1 of 1 attentions"}));
  const BuildReport missed = built(head + "a = Softmax(s) {axis: 2} \n y = MatMul(a, v) }");
  EXPECT_EQ(missed.lines[0], "fused: 0 of 1 attentions");
  EXPECT_NE(missed.lines[1].find("not fused: the attention at 'a'"), std::string::npos);
  // a classifier's softmax is none
  EXPECT_EQ(built("(x: f32[3,5]) -> (y) { y = Softmax(x) }").lines, Names());
}

// Results that lie in others' memory, or in several places.
TEST(MakePlan, EveryKindOfOutput) {
  built("(x: f32[3,5]) -> (y) { y = Identity(x) }");
  built("(x: f32[3,5]) -> (y) { y = Transpose(x) }");
  built(
      "(x: f32[3,5]) -> (y, z, c) { const k: f32[2] = #0 \n y = Relu(x) \n z = Identity(y) \n c = "
      "Identity(k) }");
  built("(x: f32[4,5]) -> (y, z, a) { a = Relu(x) \n y, z = Split(a) {axis: 0} }");
  built("(x: f32[3,5]) -> (y, a) { a = Relu(x) \n y = Concat(a, x, a) {axis: 1} }");
  built("(x: f32[3,5]) -> (y, s) { y = Relu(x) \n s = Shape(x) }");
}

// Shapes of scales and masks that ONNX allows and kernels may not have.
TEST(MakePlan, BroadcastParameters) {
  built(
      "(x: f32[3,5,8]) -> (y) { const s: f32[1] = #1 \n const b: f32[8] = #0 \n y = "
      "LayerNormalization(x, s, b) }");
  built("(x: f32[3,5,8]) -> (y) { const s: f32[1,1,8] = #1 \n y = LayerNormalization(x, s) }");
  built("(x: f32[3,5,8], s: f32[8]) -> (y) { y = LayerNormalization(x, s) }");
  built(
      "(q: f32[2,3,7,5], k: f32[2,3,5,9], v: f32[2,3,9,4], m: f32[2,1,1,9]) -> (y) { s = MatMul(q, "
      "k) \n u = Add(s, m) \n a = Softmax(u) \n y = MatMul(a, v) }");
  built(
      "(q: f32[2,3,7,5], k: f32[2,1,5,9], v: f32[1,3,9,4]) -> (y) { s = MatMul(q, k) \n a = "
      "Softmax(s) \n y = MatMul(a, v) }");
  built(
      "(x: f32[3,5], u: f32[3,1]) -> (y) { const w: f32[5,4] = #0 \n p = MatMul(x, w) \n y = "
      "Mul(p, u) }");
  built("(x: f32[2,3,5]) -> (y) { const p: i64[6] = {0, 1, -1, 0, -2, 3} \n y = Pad(x, p) }");
  built(
      "(x: f32[2,3,5]) -> (y) { const p: i64[6] = {0, 1, 1, 0, -2, -1} \n y = Pad(x, p) {mode: "
      "\"edge\"} }");
}

}  // namespace
}  // namespace vitrail
