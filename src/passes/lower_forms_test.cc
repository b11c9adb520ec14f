// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "passes/pass_testing.h"

namespace vitrail::passes {
namespace {

TEST(LowerForms, Gemm) {
  const std::string head = R"((x: f32[N,4]) -> (y) {
    symbol N input 1..
    const w: f32[4,5] = #0
    const v: f32[5,4] = #0
    const b: f32[5] = {1, 2, 3, 4, 5}
)";
  expect_rewrite("lower_forms", head + "y = Gemm(x, w, b) }",
                 head + "p = MatMul(x, w) \n y = Add(p, b) }");
  expect_rewrite("lower_forms", head + "y = Gemm(x, w) }", head + "y = MatMul(x, w) }");
  expect_rewrite("lower_forms", head + "y = Gemm(x, v, b) {transB: 1, beta: 0.0} }",
                 head + "t = Transpose(v) {perm: i[1, 0]} \n y = MatMul(x, t) }");
  expect_rewrite("lower_forms", head + "y = Gemm(x, w) {alpha: 0.25} }",
                 head + "const a: f32[] = {0.25} \n p = MatMul(x, w) \n y = Mul(p, a) }");
  expect_rewrite("lower_forms", head + "y = Gemm(x, w, b) {alpha: 0.25, beta: 2.0} }",
                 head +
                     "const a: f32[] = {0.25} \n const two: f32[] = {2} \n p = MatMul(x, w) \n q = "
                     "Mul(p, a) \n c = Mul(b, two) \n y = Add(q, c) }");
  expect_rewrite(
      "lower_forms",
      "(x: f32[4,N], u: f32[M,4]) -> (y) { symbol N input 1.. \n symbol M input 1.. \n y = Gemm(x, "
      "u) {transA: 1, transB: 1} }",
      "(x: f32[4,N], u: f32[M,4]) -> (y) { symbol N input 1.. \n symbol M input 1.. \n a = "
      "Transpose(x) {perm: i[1, 0]} \n b = Transpose(u) {perm: i[1, 0]} \n y = MatMul(a, b) }");
  // Integers and doubles run by the reference.
  expect_kept("lower_forms", "(x: f64[3,4], u: f64[4,5]) -> (y) { y = Gemm(x, u) }");
}

TEST(LowerForms, BiasOfConvolutions) {
  const std::string head = R"((x: f32[N,4,H,6]) -> (y) {
    symbol N input 1..
    symbol H input 3..
    const w: f32[2,4,3,3] = #0
    const t: f32[4,2,3,3] = #0
    const b: f32[2] = {1, 2}
    const c: f32[2,1,1] = {1, 2}
)";
  expect_rewrite("lower_forms", head + "y = Conv(x, w, b) {pads: i[1, 0, 1, 0]} }",
                 head + "p = Conv(x, w) {pads: i[1, 0, 1, 0]} \n y = Add(p, c) }");
  expect_rewrite("lower_forms", head + "y = ConvTranspose(x, t, b) {strides: i[2, 2]} }",
                 head + "p = ConvTranspose(x, t) {strides: i[2, 2]} \n y = Add(p, c) }");
  expect_rewrite("lower_forms",
                 "(x: f32[1,4,9]) -> (y) { const w: f32[2,4,3] = #0 \n const b: f32[2] = {1, 2} \n "
                 "y = Conv(x, w, b) }",
                 "(x: f32[1,4,9]) -> (y) { const w: f32[2,4,3] = #0 \n const b: f32[2,1] = {1, 2} "
                 "\n p = Conv(x, w) \n y = Add(p, b) }");
  expect_kept("lower_forms", head + "y = Conv(x, w) }");
  // A bias that varies cannot be reshaped now.
  expect_kept(
      "lower_forms",
      "(x: f32[1,4,9], b: f32[2]) -> (y) { const w: f32[2,4,3] = #0 \n y = Conv(x, w, b) }");
}

TEST(LowerForms, KeptExtentsOfReductions) {
  const std::string head =
      "(x: f32[N,3,5]) -> (y) { symbol N input 1.. \n const axes: i64[2] = {-1, 1} \n const none: "
      "i64[0] = {} \n const all: i64[3] = {0, 1, 2} \n";
  for (const char* op : {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2", "ReduceSumSquare"})
    expect_rewrite("lower_forms", head + "y = " + op + "(x, axes) {keepdims: 0} }",
                   head + "k = " + op + "(x, axes) {keepdims: 1} \n y = Squeeze(k, axes) }");
  // Without axes all of them go.
  expect_rewrite("lower_forms", head + "y = ReduceMax(x) {keepdims: 0} }",
                 head + "k = ReduceMax(x, all) {keepdims: 1} \n y = Squeeze(k, all) }");
  expect_rewrite("lower_forms", head + "y = ReduceSum(x, none) {keepdims: 0} }",
                 head + "k = ReduceSum(x, all) {keepdims: 1} \n y = Squeeze(k, all) }");
  expect_kept("lower_forms",
              head + "y = ReduceSum(x, none) {keepdims: 0, noop_with_empty_axes: 1} }");
  expect_kept("lower_forms", head + "y = ReduceMean(x, axes) }");
  expect_kept("lower_forms", head + "y = ArgMax(x) {axis: 1, keepdims: 0} }");
  expect_kept(
      "lower_forms",
      "(x: i64[2,3]) -> (y) { const axes: i64[1] = {1} \n y = ReduceSum(x, axes) {keepdims: 0} }");
}

TEST(LowerForms, QuotientsByPowersOfTwo) {
  const auto head = [](const char* c) {
    return std::string("(x: f32[N,3]) -> (y) { symbol N input 1.. \n const c: ") + c + "\n";
  };
  expect_rewrite("lower_forms", head("f32[] = {8}") + "y = Div(x, c) }",
                 head("f32[] = {0.125}") + "y = Mul(x, c) }");
  expect_rewrite("lower_forms", head("f32[1] = {-0.5}") + "y = Div(x, c) }",
                 head("f32[1] = {-2}") + "y = Mul(x, c) }");
  // Both would round in their own way.
  expect_kept("lower_forms", head("f32[] = {3}") + "y = Div(x, c) }");
  expect_kept("lower_forms", head("f32[] = {0}") + "y = Div(x, c) }");
  // 2^-140 is a float32, its inverse is not.
  expect_kept("lower_forms", head("f32[] = {7.174648137343064e-43}") + "y = Div(x, c) }");
  expect_kept("lower_forms", head("f32[] = {8}") + "y = Div(c, x) }");
  expect_kept("lower_forms", "(x: i64[3]) -> (y) { const c: i64[] = {8} \n y = Div(x, c) }");
}

// Constants of commutative ops stand on the right, so that patterns look for them there.
TEST(LowerForms, ConstantsStandOnTheRight) {
  const std::string head =
      "(x: f32[N,3]) -> (y) { symbol N input 1.. \n const c: f32[3] = {1, 2, 3} \n";
  expect_rewrite("lower_forms", head + "y = Mul(c, x) }", head + "y = Mul(x, c) }");
  expect_rewrite("lower_forms", head + "y = Add(c, x) }", head + "y = Add(x, c) }");
  expect_kept("lower_forms", head + "y = Sub(c, x) }");
  expect_kept("lower_forms", head + "y = Div(c, x) }");
  expect_kept("lower_forms", head + "y = Mul(c, c) }");
}

// The norm of F.normalize, and its other spellings.
TEST(LowerForms, EuclideanNorm) {
  const std::string head = R"((x: f32[N,3,5]) -> (y) {
    symbol N input 1..
    const axes: i64[1] = {-1}
    const two: f32[] = {2}
    const three: f32[] = {3}
    const eps: f32[] = {1e-12}
)";
  const std::string after =
      head + "n = ReduceL2(x, axes) {keepdims: 1} \n c = Clip(n, eps) \n y = Div(x, c) }";
  const std::string rest = "c = Clip(n, eps) \n y = Div(x, c) }";
  expect_rewrite(
      "lower_forms",
      head + "p = Pow(x, two) \n s = ReduceSum(p, axes) {keepdims: 1} \n n = Sqrt(s) \n" + rest,
      after);
  expect_rewrite(
      "lower_forms",
      head + "p = Mul(x, x) \n s = ReduceSum(p, axes) {keepdims: 1} \n n = Sqrt(s) \n" + rest,
      after);
  expect_rewrite("lower_forms",
                 head + "s = ReduceSumSquare(x, axes) {keepdims: 1} \n n = Sqrt(s) \n" + rest,
                 after);
  expect_rewrite("lower_forms",
                 head + "n = ReduceL2(x, axes) {keepdims: 1} \n c = Max(eps, n) \n y = Div(x, c) }",
                 after);
  expect_kept("lower_forms",
              head + "p = Pow(x, three) \n s = ReduceSum(p, axes) {keepdims: 1} \n n = Sqrt(s) \n" +
                  rest);  // a cube
  expect_kept("lower_forms",
              head + "p = Mul(x, x) \n s = ReduceMean(p, axes) {keepdims: 1} \n n = Sqrt(s) \n" +
                  rest);  // the mean
  expect_kept(
      "lower_forms",
      head +
          "u = Relu(x) \n p = Mul(x, u) \n s = ReduceSum(p, axes) {keepdims: 1} \n n = Sqrt(s) \n" +
          rest);
  expect_kept("lower_forms", head +
                                 "p = Mul(x, x) \n s = ReduceSum(p, axes) {keepdims: 1} \n e = "
                                 "Add(s, eps) \n n = Sqrt(e) \n" +
                                 rest);  // epsilon in the root
  expect_kept("lower_forms",
              head + "n = ReduceL2(x, axes) {keepdims: 1} \n c = Max(n, x) \n y = Div(x, c) }");
  expect_kept(
      "lower_forms",
      head + "n = ReduceL2(x, axes) {keepdims: 1} \n c = Max(n, x, eps) \n y = Div(x, c) }");
}

}  // namespace
}  // namespace vitrail::passes
