// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "passes/pass_testing.h"

namespace vitrail::passes {
namespace {

const Check kRounded = {.tolerance = kFloat32Constants};

std::string head(int channels) {
  const std::string c = std::to_string(channels);
  return "symbol N input 1.. \n const s: f32[" + c + "] = #0 \n const b: f32[" + c +
         "] = #0 \n const m: f32[" + c + "] = #0 \n const v: f32[" + c + "] = #1 \n";
}
const char* const kNorm = " {epsilon: 1e-3} }";

// What holds for the weights holds by the results; the text shows the nodes and shapes. More than
// 16 elements, so that the new constants' values are not part of the text.
TEST(FoldBatchnorm, IntoConvolutions) {
  const char* filters[] = {
      "const w: f32[17,4,3,3] = #0 \n p = Conv(x, w) {pads: i[1, 1, 1, 1], strides: i[2, 2]}",
      "const w: f32[17,4,1,1] = #0 \n p = Conv(x, w)"};
  for (const std::string conv : filters) {
    expect_rewrite("fold_batchnorm",
                   "(x: f32[N,4,5,7]) -> (y) {" + head(17) + conv +
                       "\n y = BatchNormalization(p, s, b, m, v)" + kNorm,
                   "(x: f32[N,4,5,7]) -> (y) { symbol N input 1.. \n const c: f32[17,1,1] = #0 \n" +
                       conv + "\n y = Add(p, c) }",
                   kRounded);
  }
  // depthwise, as in CvT's convolutional projection
  const std::string depthwise =
      "const w: f32[18,1,3,3] = #0 \n p = Conv(x, w) {group: 18, pads: i[1, 1, 1, 1]}";
  expect_rewrite("fold_batchnorm",
                 "(x: f32[N,18,5,7]) -> (y) {" + head(18) + depthwise +
                     "\n y = BatchNormalization(p, s, b, m, v)" + kNorm,
                 "(x: f32[N,18,5,7]) -> (y) { symbol N input 1.. \n const c: f32[18,1,1] = #0 \n" +
                     depthwise + "\n y = Add(p, c) }",
                 kRounded);
  // grouped
  const std::string grouped =
      "const w: f32[18,2,3,3] = #0 \n p = Conv(x, w) {group: 3, pads: i[1, 1, 1, 1]}";
  expect_rewrite("fold_batchnorm",
                 "(x: f32[N,6,5,7]) -> (y) {" + head(18) + grouped +
                     "\n y = BatchNormalization(p, s, b, m, v)" + kNorm,
                 "(x: f32[N,6,5,7]) -> (y) { symbol N input 1.. \n const c: f32[18,1,1] = #0 \n" +
                     grouped + "\n y = Add(p, c) }",
                 kRounded);
}

TEST(FoldBatchnorm, TakesTheBiasAlong) {
  const std::string conv = "const w: f32[17,4,3] = #0 \n p = Conv(x, w)\n";
  const std::string after =
      "(x: f32[N,4,9]) -> (y) { symbol N input 1.. \n const c: f32[17,1] = #0 \n" + conv +
      "y = Add(p, c) }";
  for (const char* shape : {"17,1", "1,17,1"})
    expect_rewrite("fold_batchnorm",
                   "(x: f32[N,4,9]) -> (y) {" + head(17) + conv + "const c: f32[" + shape +
                       "] = #0 \n q = Add(p, c) \n y = BatchNormalization(q, s, b, m, v)" + kNorm,
                   after, kRounded);
}

TEST(FoldBatchnorm, IntoLinear) {
  expect_rewrite(
      "fold_batchnorm",
      "(x: f32[N,4]) -> (y) {" + head(17) +
          "const w: f32[4,17] = #0 \n p = MatMul(x, w) \n y = BatchNormalization(p, s, b, m, v)" +
          kNorm,
      "(x: f32[N,4]) -> (y) { symbol N input 1.. \n const w: f32[4,17] = #0 \n const c: f32[17] = "
      "#0 \n p = MatMul(x, w) \n y = Add(p, c) }",
      kRounded);
  expect_rewrite("fold_batchnorm",
                 "(x: f32[N,4]) -> (y) {" + head(17) +
                     "const w: f32[4,17] = #0 \n const c: f32[17] = #0 \n p = MatMul(x, w) \n q = "
                     "Add(p, c) \n y = BatchNormalization(q, s, b, m, v)" +
                     kNorm,
                 "(x: f32[N,4]) -> (y) { symbol N input 1.. \n const w: f32[4,17] = #0 \n const c: "
                 "f32[17] = #0 \n p = MatMul(x, w) \n y = Add(p, c) }",
                 kRounded);
}

// Where nothing takes it, the norm is a product and a sum.
void becomes_affine(const std::string& signature, const std::string& nodes, int channels,
                    const std::string& dims, const std::string& of) {
  expect_rewrite("fold_batchnorm",
                 signature + " {" + head(channels) + nodes + "\n y = BatchNormalization(" + of +
                     ", s, b, m, v)" + kNorm,
                 signature + " { symbol N input 1.. \n const k: f32[" + dims +
                     "] = #0 \n const c: f32[" + dims + "] = #0 \n" + nodes + "\n n = Mul(" + of +
                     ", k) \n y = Add(n, c) }",
                 kRounded);
}

TEST(FoldBatchnorm, NearMisses) {
  becomes_affine("(x: f32[N,17,5,7]) -> (y)", "", 17, "17,1,1", "x");
  // The convolution's result is also read elsewhere, or is an output.
  becomes_affine("(x: f32[N,4,5,7]) -> (y, z)",
                 "const w: f32[17,4,1,1] = #0 \n p = Conv(x, w) \n z = Relu(p)", 17, "17,1,1", "p");
  becomes_affine("(x: f32[N,4,5,7]) -> (y, p)", "const w: f32[17,4,1,1] = #0 \n p = Conv(x, w)", 17,
                 "17,1,1", "p");
  // The filters vary.
  becomes_affine("(x: f32[N,4,5,7], w: f32[17,4,1,1]) -> (y)", "p = Conv(x, w)", 17, "17,1,1", "p");
  // A transposed convolution has its filters the other way around.
  becomes_affine("(x: f32[N,17,5,7]) -> (y)",
                 "const w: f32[17,17,1,1] = #0 \n p = ConvTranspose(x, w)", 17, "17,1,1", "p");
  // What is added lies along the width (as many as channels), or along the height.
  becomes_affine(
      "(x: f32[N,4,17,17]) -> (y)",
      "const w: f32[17,4,1,1] = #0 \n const e: f32[17] = #0 \n p = Conv(x, w) \n q = Add(p, e)", 17,
      "17,1,1", "q");
  becomes_affine(
      "(x: f32[N,4,17,17]) -> (y)",
      "const w: f32[17,4,1,1] = #0 \n const e: f32[17,1] = #0 \n p = Conv(x, w) \n q = Add(p, e)",
      17, "17,1,1", "q");
  // A product of three axes has its channels in the middle.
  becomes_affine("(x: f32[N,17,4]) -> (y)", "const w: f32[4,17] = #0 \n p = MatMul(x, w)", 17,
                 "17,1", "p");
  // Statistics that vary, statistics of the batch, doubles.
  expect_kept("fold_batchnorm",
              "(x: f32[2,3,5], s: f32[3]) -> (y) { const b: f32[3] = #0 \n const v: f32[3] = #1 \n "
              "y = BatchNormalization(x, s, b, b, v) }");
  expect_kept("fold_batchnorm",
              "(x: f64[2,3,5]) -> (y) { const b: f64[3] = #0 \n const v: f64[3] = #1 \n y = "
              "BatchNormalization(x, b, b, b, v) }");
}

// v + eps is near 1e-5 and the mean large: k and the shift are computed in double.
TEST(FoldBatchnorm, SmallVariance) {
  expect_rewrite("fold_batchnorm", R"((x: f32[1,2,3]) -> (y) {
    const s: f32[2] = {1, 2}
    const b: f32[2] = {0, 1}
    const m: f32[2] = {0.5, -0.25}
    const v: f32[2] = {0, 1e-6}
    y = BatchNormalization(x, s, b, m, v) {epsilon: 1e-5}
  })",
                 R"((x: f32[1,2,3]) -> (y) {
    const k: f32[2,1] = {316.22776601683796, 603.0226891555273}
    const c: f32[2,1] = {-158.11388300841898, 151.75567228888182}
    p = Mul(x, k)
    y = Add(p, c)
  })",
                 kRounded);
}

}  // namespace
}  // namespace vitrail::passes
