// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "passes/pass_testing.h"

namespace vitrail::passes {
namespace {

const std::string kTokens = R"((x: f32[N,T,6]) -> (y) {
    symbol N input 1..
    symbol T input 1..
    const rows: i64[2] = {-1, 6}
    const w: f32[6,4] = #0
    const b: f32[4] = {1, 2, 3, 4}
)";

// Linear on flattened tokens: the Reshape sinks below product, bias and activation.
TEST(SinkViews, BelowLinearAndActivation) {
  expect_rewrite("sink_views",
                 kTokens +
                     "r = Reshape(x, rows) \n p = MatMul(r, w) \n q = Add(p, b) \n y = Gelu(q) "
                     "{approximate: \"none\"} }",
                 kTokens +
                     "p = MatMul(x, w) \n q = Add(p, b) \n g = Gelu(q) {approximate: \"none\"} \n "
                     "const s: i64[2] = {-1, 4} \n y = Reshape(g, s) }");
}

// The Reshape back to tokens meets the first and both go.
TEST(SinkViews, PairsCancel) {
  expect_rewrite("sink_views", R"((x: f32[3,5,6]) -> (y) {
    const rows: i64[2] = {15, 6}
    const tokens: i64[3] = {3, 5, 4}
    const w: f32[6,4] = #0
    const b: f32[4] = {1, 2, 3, 4}
    r = Reshape(x, rows)
    p = MatMul(r, w)
    q = Add(b, p)
    y = Reshape(q, tokens)
  })",
                 R"((x: f32[3,5,6]) -> (y) {
    const w: f32[6,4] = #0
    const b: f32[4] = {1, 2, 3, 4}
    p = MatMul(x, w)
    y = Add(b, p)
  })");
}

TEST(SinkViews, TransposeBelowOneOperand) {
  for (const char* op : {"Relu", "Sigmoid", "Neg", "Swish"})
    expect_rewrite("sink_views",
                   std::string("(x: f32[N,3,5]) -> (y) { symbol N input 1.. \n t = Transpose(x) "
                               "{perm: i[0, 2, 1]} \n y = ") +
                       op + "(t) }",
                   std::string("(x: f32[N,3,5]) -> (y) { symbol N input 1.. \n a = ") + op +
                       "(x) \n y = Transpose(a) {perm: i[0, 2, 1]} }");
}

// The operand's side matters.
TEST(SinkViews, KeepsTheOrderOfOperands) {
  expect_rewrite("sink_views",
                 "(x: f32[2,3,5]) -> (y) { const s: i64[2] = {6, 5} \n const c: f32[5] = {1, 2, 3, "
                 "4, 5} \n r = Reshape(x, s) \n y = Sub(c, r) }",
                 "(x: f32[2,3,5]) -> (y) { const s: i64[2] = {6, 5} \n const c: f32[5] = {1, 2, 3, "
                 "4, 5} \n d = Sub(c, x) \n y = Reshape(d, s) }");
}

// A product takes its residual; the Transpose between them turns the residual instead.
TEST(SinkViews, TransposeBelowAResidual) {
  expect_rewrite(
      "sink_views",
      "(x: f32[N,3,5], r: f32[N,4,3]) -> (y) { symbol N input 1.. \n const w: f32[5,4] = #0 \n p = "
      "MatMul(x, w) \n t = Transpose(p) {perm: i[0, 2, 1]} \n y = Sub(r, t) }",
      "(x: f32[N,3,5], r: f32[N,4,3]) -> (y) { symbol N input 1.. \n const w: f32[5,4] = #0 \n p = "
      "MatMul(x, w) \n u = Transpose(r) {perm: i[0, 2, 1]} \n s = Sub(u, p) \n y = Transpose(s) "
      "{perm: i[0, 2, 1]} }");
  // Simplifiers flatten the tokens before each Linear, also where the Reshape before it joins
  // heads.
  expect_rewrite("sink_views", R"((x: f32[3,5,2,4], r: f32[3,5,6]) -> (y) {
    const rows: i64[2] = {15, 8}
    const tokens: i64[3] = {3, 5, 6}
    const w: f32[8,6] = #0
    f = Reshape(x, rows)
    p = MatMul(f, w)
    t = Reshape(p, tokens)
    y = Add(r, t)
  })",
                 R"((x: f32[3,5,2,4], r: f32[3,5,6]) -> (y) {
    const rows: i64[2] = {15, 8}
    const flat: i64[2] = {15, 6}
    const tokens: i64[3] = {3, 5, 6}
    const w: f32[8,6] = #0
    f = Reshape(x, rows)
    p = MatMul(f, w)
    u = Reshape(r, flat)
    s = Add(u, p)
    y = Reshape(s, tokens)
  })");
  // The residual has more axes, fewer, or repeats along one; it is a product itself; x is no
  // product.
  const std::string head =
      "const w: f32[5,4] = #0 \n p = MatMul(x, w) \n t = Transpose(p) \n y = Add(t, r) }";
  expect_kept("sink_views", "(x: f32[3,5], r: f32[2,4,3]) -> (y) {" + head);
  expect_kept("sink_views", "(x: f32[3,5], r: f32[3]) -> (y) {" + head);
  expect_kept("sink_views", "(x: f32[3,5], r: f32[4,1]) -> (y) {" + head);
  expect_kept(
      "sink_views",
      "(x: f32[3,5], u: f32[4,5]) -> (y) { const v: f32[5,3] = #0 \n r = MatMul(u, v) \n" + head);
  expect_kept("sink_views",
              "(x: f32[3,4], r: f32[4,3]) -> (y) { t = Transpose(x) \n y = Add(t, r) }");
}

// Of two products behind views the one behind the Transpose takes the sum, on either side.
TEST(SinkViews, TheTransposedProductTakesTheSum) {
  const std::string head = R"((x: f32[N,3,5], u: f32[N,12,6]) -> (y) {
    symbol N input 1..
    const w: f32[5,4] = #0
    const v: f32[6,1] = #0
    const s: i64[3] = {0, 4, 3}
    p = MatMul(x, w)
    q = MatMul(u, v)
    r = Reshape(q, s)
)";
  const auto check = [&](const std::string& add, const std::string& sum) {
    expect_rewrite("sink_views", head + "t = Transpose(p) {perm: i[0, 2, 1]} \n y = " + add + " }",
                   head + "i = Transpose(r) {perm: i[0, 2, 1]} \n a = " + sum +
                       " \n y = Transpose(a) {perm: i[0, 2, 1]} }");
  };
  check("Add(r, t)", "Add(i, p)");
  check("Add(t, r)", "Add(p, i)");
}

TEST(SinkViews, NearMisses) {
  const auto kept = [](const std::string& text) { expect_kept("sink_views", text); };
  // The view is also read elsewhere, or is an output.
  kept(
      "(x: f32[2,3,6]) -> (y, r) { const s: i64[2] = {6, 6} \n const w: f32[6,4] = #0 \n r = "
      "Reshape(x, s) \n y = MatMul(r, w) }");
  kept("(x: f32[2,3]) -> (y, z) { t = Transpose(x) \n y = Relu(t) \n z = Neg(t) }");
  // The last axis changes: its rows are others.
  kept(
      "(x: f32[2,3,4]) -> (y) { const s: i64[2] = {2, 12} \n const w: f32[12,5] = #0 \n r = "
      "Reshape(x, s) \n y = MatMul(r, w) }");
  kept(
      "(x: f32[2,3,4]) -> (y) { const s: i64[2] = {4, 6} \n const c: f32[6] = #0 \n r = Reshape(x, "
      "s) \n y = Add(r, c) }");
  // Not elementwise: along an axis, or over all.
  kept(
      "(x: f32[2,3,4]) -> (y) { t = Transpose(x) {perm: i[0, 2, 1]} \n y = Softmax(t) {axis: -1} "
      "}");
  kept(
      "(x: f32[2,3,4]) -> (y) { const a: i64[] = {0} \n const s: i64[2] = {6, 4} \n r = Reshape(x, "
      "s) \n y = CumSum(r, a) }");
  // A constant for each row: other rows before the Reshape.
  kept(
      "(x: f32[2,3,4]) -> (y) { const s: i64[2] = {6, 4} \n const c: f32[6,1] = #0 \n r = "
      "Reshape(x, s) \n y = Add(r, c) }");
  // The constant has more axes than what is reshaped.
  kept(
      "(x: f32[6,4]) -> (y) { const s: i64[3] = {2, 3, 4} \n const c: f32[1,1,4] = #0 \n r = "
      "Reshape(x, s) \n y = Add(r, c) }");
  // A right operand that varies, or has batches of its own.
  kept(
      "(x: f32[2,3,6], w: f32[6,4]) -> (y) { const s: i64[2] = {6, 6} \n r = Reshape(x, s) \n y = "
      "MatMul(r, w) }");
  kept(
      "(x: f32[6,6]) -> (y) { const s: i64[3] = {2, 3, 6} \n const w: f32[2,6,4] = #0 \n r = "
      "Reshape(x, s) \n y = MatMul(r, w) }");
  // The view on the right side of a product.
  kept(
      "(x: f32[2,3,6], u: f32[4,6]) -> (y) { const s: i64[2] = {6, 6} \n r = Reshape(x, s) \n y = "
      "MatMul(u, r) }");
  // A result that is larger than the view.
  kept(
      "(x: f32[1,6]) -> (y) { const s: i64[3] = {1, 1, 6} \n const c: f32[3,1] = #0 \n r = "
      "Reshape(x, s) \n y = Add(r, c) }");
  // Integers are no kernel's.
  kept("(x: i64[2,3]) -> (y) { t = Transpose(x) \n y = Neg(t) }");
}

}  // namespace
}  // namespace vitrail::passes
