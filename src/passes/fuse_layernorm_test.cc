// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "passes/pass_testing.h"

namespace vitrail::passes {
namespace {

// What PyTorch's exporter writes up to opset 16.
TEST(FuseLayernorm, ExportersChain) {
  expect_rewrite("fuse_layernorm", R"((x: f32[N,5,7]) -> (z) {
    symbol N input 1..
    const axes: i64[1] = {-1}
    const two: f32[] = {2}
    const eps: f32[] = {1e-5}
    const scale: f32[7] = {1, 2, 3, 4, 5, 6, 7}
    const bias: f32[7] = {7, 6, 5, 4, 3, 2, 1}
    m = ReduceMean(x, axes)
    d = Sub(x, m)
    s = Pow(d, two)
    v = ReduceMean(s, axes)
    e = Add(v, eps)
    r = Sqrt(e)
    y = Div(d, r)
    w = Mul(y, scale)
    z = Add(w, bias)
  })",
                 R"((x: f32[N,5,7]) -> (z) {
    symbol N input 1..
    const scale: f32[7] = {1, 2, 3, 4, 5, 6, 7}
    const bias: f32[7] = {7, 6, 5, 4, 3, 2, 1}
    z = LayerNormalization(x, scale, bias) {axis: -1, epsilon: 1e-05}
  })");
}

// Mul for Pow, Reciprocal for Div, operands swapped, parameters [1, 1, c], the axis counted from
// the front.
TEST(FuseLayernorm, OtherSpelling) {
  expect_rewrite("fuse_layernorm", R"((x: f32[3,N,5]) -> (z) {
    symbol N input 1..
    const axes: i64[1] = {2}
    const eps: f32[1] = {1e-6}
    const scale: f32[1,1,5] = {1, 2, 3, 4, 5}
    const bias: f32[5] = {5, 4, 3, 2, 1}
    m = ReduceMean(x, axes) {keepdims: 1}
    d = Sub(x, m)
    s = Mul(d, d)
    v = ReduceMean(s, axes)
    e = Add(eps, v)
    r = Sqrt(e)
    i = Reciprocal(r)
    y = Mul(i, d)
    w = Mul(scale, y)
    z = Add(bias, w)
  })",
                 R"((x: f32[3,N,5]) -> (z) {
    symbol N input 1..
    const scale: f32[5] = {1, 2, 3, 4, 5}
    const bias: f32[5] = {5, 4, 3, 2, 1}
    z = LayerNormalization(x, scale, bias) {axis: -1, epsilon: 1e-06}
  })");
}

constexpr const char* kNormalized = R"(
    const axes: i64[1] = {-1}
    const two: f32[] = {2}
    const eps: f32[] = {1e-5}
    m = ReduceMean(x, axes)
    d = Sub(x, m)
    s = Pow(d, two)
    v = ReduceMean(s, axes)
    e = Add(v, eps)
    r = Sqrt(e)
    y = Div(d, r)
)";
std::string normalized(const std::string& head, const std::string& tail) {
  return head + " {" + kNormalized + tail + "}";
}
std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(FuseLayernorm, WithoutScaleAndBias) {
  expect_rewrite("fuse_layernorm", normalized("(x: f32[3,5]) -> (y)", ""), R"((x: f32[3,5]) -> (y) {
    const ones: f32[5] = {1, 1, 1, 1, 1}
    y = LayerNormalization(x, ones) {axis: -1, epsilon: 1e-05}
  })");
}

// What follows is no part of the norm where it is read elsewhere, has another axis or more axes
// than x.
TEST(FuseLayernorm, OnlyScaleAndBiasOfTheLastAxisJoin) {
  const std::string alone = R"(const ones: f32[5] = {1, 1, 1, 1, 1}
    y = LayerNormalization(x, ones) {axis: -1, epsilon: 1e-05})";
  const std::string read_twice = R"(
    const scale: f32[5] = {1, 2, 3, 4, 5}
    z = Mul(y, scale)
    u = Relu(y))";
  expect_rewrite("fuse_layernorm", normalized("(x: f32[3,5]) -> (z, u)", read_twice),
                 "(x: f32[3,5]) -> (z, u) {" + alone + read_twice + "}");
  const std::string rows = R"(
    const scale: f32[5,1] = {1, 2, 3, 4, 5}
    z = Mul(y, scale))";
  expect_rewrite("fuse_layernorm", normalized("(x: f32[5,5]) -> (z)", rows),
                 "(x: f32[5,5]) -> (z) {" + alone + rows + "}");
  const std::string more_axes = R"(
    const scale: f32[1,1,5] = {1, 2, 3, 4, 5}
    z = Mul(y, scale))";
  expect_rewrite("fuse_layernorm", normalized("(x: f32[3,5]) -> (z)", more_axes),
                 "(x: f32[3,5]) -> (z) {" + alone + more_axes + "}");
  const std::string output = R"(
    const scale: f32[5] = {1, 2, 3, 4, 5}
    z = Mul(y, scale))";
  expect_rewrite("fuse_layernorm", normalized("(x: f32[3,5]) -> (y, z)", output),
                 "(x: f32[3,5]) -> (y, z) {" + alone + output + "}");
}

TEST(FuseLayernorm, NearMisses) {
  const std::string text = normalized("(x: f32[3,5,5]) -> (y)", "");
  const auto kept = [&](const std::string& from, const std::string& to) {
    expect_kept("fuse_layernorm", replaced(text, from, to));
  };
  kept("{-1}", "{1}");                                       // over another axis
  kept("i64[1] = {-1}", "i64[2] = {-2, -1}");                // over two axes
  kept("const two: f32[] = {2}", "const two: f32[] = {3}");  // no square
  kept("d = Sub(x, m)", "d = Sub(m, x)");                    // the mean minus x: the sign turns
  kept("y = Div(d, r)", "y = Div(x, r)");                    // not the centred value
  kept("e = Add(v, eps)\n    r = Sqrt(e)",
       "q = Sqrt(v)\n    r = Add(q, eps)");  // epsilon outside of the root
  kept("const eps: f32[] = {1e-5}",
       "const eps: f32[5] = {1, 2, 3, 4, 5}");                // an epsilon for each channel
  kept("v = ReduceMean(s, axes)", "v = ReduceSum(s, axes)");  // the sum of squares
  // A variance of another tensor than the mean's.
  expect_kept("fuse_layernorm",
              replaced(replaced(text, "(x: f32[3,5,5])", "(x: f32[3,5,5], u: f32[3,5,5])"),
                       "Sub(x, m)", "Sub(u, m)"));
  // keepdims 0 where the extents let it broadcast over the wrong axis.
  expect_kept("fuse_layernorm",
              replaced(normalized("(x: f32[5,5]) -> (y)", ""), "m = ReduceMean(x, axes)",
                       "m = ReduceMean(x, axes) {keepdims: 0}"));
  // An exponent of higher rank adds axes.
  expect_kept("fuse_layernorm",
              replaced(text, "const two: f32[] = {2}", "const two: f32[1,1,1,1] = {2}"));
  // Doubles are no kernel's.
  std::string wide = text;
  for (size_t at; (at = wide.find("f32")) != std::string::npos;) wide.replace(at, 3, "f64");
  expect_kept("fuse_layernorm", wide);
  // Statistics over an extent that is only known when a session binds: the scale of ones cannot be
  // made.
  expect_kept("fuse_layernorm", replaced(text, "(x: f32[3,5,5]) -> (y) {",
                                         "(x: f32[3,5,C]) -> (y) { symbol C input 1.. \n"));
}

}  // namespace
}  // namespace vitrail::passes
