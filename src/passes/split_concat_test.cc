// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "passes/pass_testing.h"

namespace vitrail::passes {
namespace {

const Check kRounded = {.tolerance = kFloat32Constants};

// MST++'s decoder and U-Nets': what comes from below and what the encoder kept.
TEST(SplitConcat, ConvolutionsTakeTheirPart) {
  expect_rewrite(
      "split_concat",
      "(x: f32[N,5,3,4], s: f32[N,6,6,8]) -> (y) { symbol N input 1.. \n"
      "const v: f32[5,18,2,2] = #0 \n const c: f32[18,1,1] = #0 \n const w: f32[17,24,1,1] = #0 \n"
      "p = ConvTranspose(x, v) {strides: i[2, 2]} \n q = Add(p, c) \n"
      "j = Concat(q, s) {axis: 1} \n y = Conv(j, w) }",
      "(x: f32[N,5,3,4], s: f32[N,6,6,8]) -> (y) { symbol N input 1.. \n"
      "const v: f32[5,17,2,2] = #0 \n const c: f32[17,1,1] = #0 \n const w: f32[17,6,1,1] = #0 \n"
      "p = ConvTranspose(x, v) {strides: i[2, 2]} \n q = Add(p, c) \n"
      "r = Conv(s, w) \n y = Add(r, q) }",
      kRounded);
}

TEST(SplitConcat, OfThreePartsTwoConvolutions) {
  expect_rewrite(
      "split_concat",
      "(x: f32[2,3,5,5], s: f32[2,3,5,5]) -> (y) {"
      "const v: f32[8,3,3,3] = #0 \n const u: f32[9,3,1,1] = #0 \n const w: f32[8,20,1,1] = #0 \n"
      "p = Conv(x, v) {pads: i[1, 1, 1, 1]} \n q = Conv(s, u) \n"
      "j = Concat(p, s, q) {axis: -3} \n y = Conv(j, w) }",
      "(x: f32[2,3,5,5], s: f32[2,3,5,5]) -> (y) {"
      "const v: f32[8,3,3,3] = #0 \n const w: f32[8,3,1,1] = #0 \n const u: f32[8,3,1,1] = #0 \n"
      "p = Conv(x, v) {pads: i[1, 1, 1, 1]} \n r = Conv(s, w) \n q = Conv(s, u) \n"
      "t = Add(q, p) \n y = Add(r, t) }",
      kRounded);
}

TEST(SplitConcat, NearMisses) {
  const std::string head =
      "(x: f32[2,3,5,5], s: f32[2,2,5,5]) -> (y) { const v: f32[8,3,1,1] = #0 \n const w: "
      "f32[8,10,1,1] = #0 \n";
  // What is added has one number for each column, not for each channel; an activation between.
  for (const char* part :
       {"const c: f32[5] = #0 \n p = Conv(x, v) \n q = Add(p, c)", "p = Conv(x, v) \n q = Relu(p)"})
    expect_kept("split_concat", head + part + "\n j = Concat(q, s) {axis: 1} \n y = Conv(j, w) }");
  // The part or the Concat is read elsewhere; strides.
  expect_kept(
      "split_concat",
      head + "q = Conv(x, v) \n j = Concat(q, s) {axis: 1} \n z = Conv(j, w) \n y = Add(z, q) }");
  expect_kept("split_concat",
              "(x: f32[2,3,5,5], s: f32[2,2,5,5]) -> (y, j) { const v: f32[8,3,1,1] = #0 \n const "
              "w: f32[8,10,1,1] = #0 \n"
              "q = Conv(x, v) \n j = Concat(q, s) {axis: 1} \n y = Conv(j, w) }");
  expect_kept(
      "split_concat",
      head + "q = Conv(x, v) \n j = Concat(q, s) {axis: 1} \n y = Conv(j, w) {strides: i[2, 2]} }");
  // More channels than before; no convolution among the parts.
  expect_kept("split_concat",
              "(x: f32[2,3,5,5], s: f32[2,2,5,5]) -> (y) { const v: f32[8,3,1,1] = #0 \n const w: "
              "f32[9,10,1,1] = #0 \n"
              "q = Conv(x, v) \n j = Concat(q, s) {axis: 1} \n y = Conv(j, w) }");
  expect_kept("split_concat",
              "(x: f32[2,8,5,5], s: f32[2,2,5,5]) -> (y) { const w: f32[8,10,1,1] = #0 \n"
              "j = Concat(x, s) {axis: 1} \n y = Conv(j, w) }");
}

}  // namespace
}  // namespace vitrail::passes
