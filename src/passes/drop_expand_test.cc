// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "passes/pass_testing.h"

namespace vitrail::passes {
namespace {

// F.normalize as exporters write it, with the shape computed (legacy) or constant (dynamo,
// simplified).
TEST(DropExpand, Normalize) {
  const std::string head =
      "(x: f32[N,5,7]) -> (y) { symbol N input 1.. \n const axes: i64[1] = {-1} \n const eps: "
      "f32[] = {1e-12} \n";
  expect_rewrite("drop_expand",
                 head +
                     "n = ReduceL2(x, axes) \n c = Clip(n, eps) \n s = Shape(x) \n e = Expand(c, "
                     "s) \n y = Div(x, e) }",
                 head + "n = ReduceL2(x, axes) \n c = Clip(n, eps) \n y = Div(x, c) }");
}

TEST(DropExpand, EitherOperandAndAnyElementwiseOp) {
  expect_rewrite("drop_expand",
                 "(x: f32[3,5], u: f32[5]) -> (y) { const s: i64[2] = {3, 5} \n e = Expand(u, s) "
                 "\n y = Sub(e, x) }",
                 "(x: f32[3,5], u: f32[5]) -> (y) { y = Sub(u, x) }");
  expect_rewrite("drop_expand",
                 "(x: i32[3,5], u: i32[1,1]) -> (y) { const s: i64[2] = {1, 5} \n e = Expand(u, s) "
                 "\n y = Less(x, e) }",
                 "(x: i32[3,5], u: i32[1,1]) -> (y) { y = Less(x, u) }");
}

// Both operands are expanded to extents that neither has: one of them must stay.
TEST(DropExpand, OneOfTwoStays) {
  expect_rewrite("drop_expand", R"((x: f32[3,1], u: f32[1,5]) -> (y) {
    const s: i64[2] = {3, 5}
    a = Expand(x, s)
    b = Expand(u, s)
    y = Add(a, b)
  })",
                 R"((x: f32[3,1], u: f32[1,5]) -> (y) {
    const s: i64[2] = {3, 5}
    b = Expand(u, s)
    y = Add(x, b)
  })");
}

TEST(DropExpand, NearMisses) {
  // The Expand gives the result its extents, or its rank.
  expect_kept("drop_expand",
              "(x: f32[1,5], u: f32[3,1]) -> (y) { const s: i64[2] = {3, 5} \n e = Expand(u, s) \n "
              "y = Add(x, e) }");
  expect_kept("drop_expand",
              "(x: f32[3,5], u: f32[5]) -> (y) { const s: i64[3] = {1, 3, 5} \n e = Expand(u, s) "
              "\n y = Add(x, e) }");
  // PRelu's slope may broadcast to x, not x to the slope.
  expect_kept("drop_expand",
              "(x: f32[1,5], u: f32[3,5]) -> (y) { const s: i64[2] = {3, 5} \n e = Expand(x, s) \n "
              "y = PRelu(e, u) }");
  // The product reads all rows.
  expect_kept("drop_expand",
              "(x: f32[5,3], u: f32[1,5]) -> (y) { const s: i64[2] = {3, 5} \n e = Expand(u, s) \n "
              "y = MatMul(e, x) }");
}

}  // namespace
}  // namespace vitrail::passes
