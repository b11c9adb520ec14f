// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "passes/pass_testing.h"

namespace vitrail::passes {
namespace {

TEST(FoldScale, IntoWeights) {
  expect_rewrite("fold_scale", R"((x: f32[N,5,6,7]) -> (y) {
    symbol N input 1..
    const s: f32[] = {2}
    const w: f32[4,5,3,3] = #0
    a = Mul(x, s)
    y = Conv(a, w) {pads: i[1, 1, 1, 1]}
  })",
                 R"((x: f32[N,5,6,7]) -> (y) {
    symbol N input 1..
    const w: f32[4,5,3,3] = #0
    y = Conv(x, w) {pads: i[1, 1, 1, 1]}
  })",
                 {.tolerance = kFloat32Constants});
  expect_rewrite("fold_scale", R"((x: f32[N,5]) -> (y) {
    symbol N input 1..
    const s: f32[1] = {0.3}
    const w: f32[5,4] = #0
    a = Mul(s, x)
    y = MatMul(a, w)
  })",
                 R"((x: f32[N,5]) -> (y) {
    symbol N input 1..
    const w: f32[5,4] = #0
    y = MatMul(x, w)
  })",
                 {.tolerance = kFloat32Constants});
}

TEST(FoldScale, NearMisses) {
  // read twice
  expect_kept("fold_scale", R"((x: f32[3,5]) -> (y, a) {
    const s: f32[] = {2}
    const w: f32[5,4] = #0
    a = Mul(x, s)
    y = MatMul(a, w)
  })");
  // the weights vary
  expect_kept("fold_scale", R"((x: f32[3,5], w: f32[5,4]) -> (y) {
    const s: f32[] = {2}
    a = Mul(x, s)
    y = MatMul(a, w)
  })");
  // one factor a channel
  expect_kept("fold_scale", R"((x: f32[3,5]) -> (y) {
    const s: f32[5] = #1
    const w: f32[5,4] = #0
    a = Mul(x, s)
    y = MatMul(a, w)
  })");
  // no product
  expect_kept("fold_scale", R"((x: f32[3,5]) -> (y) {
    const s: f32[] = {2}
    const w: f32[5,4] = #0
    a = Add(x, s)
    y = MatMul(a, w)
  })");
  // a scaled right operand
  expect_kept("fold_scale", R"((x: f32[3,5], u: f32[5,4]) -> (y) {
    const s: f32[] = {2}
    a = Mul(u, s)
    y = MatMul(x, a)
  })");
}

}  // namespace
}  // namespace vitrail::passes
