// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "passes/pass_testing.h"

namespace vitrail::passes {
namespace {

TEST(FuseSwish, SiLU) {
  expect_rewrite("fuse_swish",
                 "(x: f32[N,7]) -> (y) { symbol N input 1.. \n s = Sigmoid(x) \n y = Mul(s, x) }",
                 "(x: f32[N,7]) -> (y) { symbol N input 1.. \n y = Swish(x) {alpha: 1.0} }");
}

TEST(FuseSwish, QuickGELU) {
  for (const char* product : {"Mul(x, a)", "Mul(a, x)"})
    expect_rewrite(
        "fuse_swish",
        std::string(
            "(x: f32[N,7]) -> (y) { symbol N input 1.. \n const a: f32[1] = {1.702} \n m = ") +
            product + "\n s = Sigmoid(m) \n y = Mul(x, s) }",
        "(x: f32[N,7]) -> (y) { symbol N input 1.. \n y = Swish(x) {alpha: 1.7020000219345093} }");
}

// A swish of a swish, and both parts read elsewhere.
TEST(FuseSwish, Chains) {
  expect_rewrite("fuse_swish",
                 "(x: f32[3,7]) -> (z, s) { s = Sigmoid(x) \n y = Mul(x, s) \n t = Sigmoid(y) \n z "
                 "= Mul(y, t) }",
                 "(x: f32[3,7]) -> (z, s) { s = Sigmoid(x) \n y = Swish(x) {alpha: 1.0} \n z = "
                 "Swish(y) {alpha: 1.0} }");
}

TEST(FuseSwish, NearMisses) {
  // A gate: the sigmoid of another value.
  expect_kept("fuse_swish",
              "(x: f32[3,7], u: f32[3,7]) -> (y) { s = Sigmoid(u) \n y = Mul(x, s) }");
  expect_kept("fuse_swish",
              "(x: f32[3,7], u: f32[3,7]) -> (y) { const a: f32[] = {1.702} \n m = Mul(u, a) \n s "
              "= Sigmoid(m) \n y = Mul(x, s) }");
  // A factor for each channel.
  expect_kept("fuse_swish",
              "(x: f32[3,7]) -> (y) { const a: f32[7] = {1, 2, 3, 4, 5, 6, 7} \n m = Mul(x, a) \n "
              "s = Sigmoid(m) \n y = Mul(x, s) }");
  // The factor has more axes than x, and so has the result.
  expect_kept("fuse_swish",
              "(x: f32[3,7]) -> (y) { const a: f32[1,1,1] = {1.702} \n m = Mul(x, a) \n s = "
              "Sigmoid(m) \n y = Mul(x, s) }");
  expect_kept("fuse_swish", "(x: f32[3,7]) -> (y) { s = Sigmoid(x) \n y = Add(x, s) }");
  expect_kept("fuse_swish", "(x: f32[3,7]) -> (y) { s = Tanh(x) \n y = Mul(x, s) }");
  expect_kept("fuse_swish", "(x: f64[3,7]) -> (y) { s = Sigmoid(x) \n y = Mul(x, s) }");
}

}  // namespace
}  // namespace vitrail::passes
