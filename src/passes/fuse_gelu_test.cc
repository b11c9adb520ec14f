// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "passes/pass_testing.h"

namespace vitrail::passes {
namespace {

const std::string kHead = R"((x: f32[N,7]) -> (y) {
    symbol N input 1..
    const root: f32[] = {1.4142135381698608}
    const root_half: f32[] = {0.7071067690849304}
    const minus: f32[] = {-0.7071067690849304}
    const half: f32[] = {0.5}
    const two: f32[] = {2}
    const one: f32[] = {1}
)";
// The constants are float32: sqrt 2 is off by 2e-8 of itself, the result by as much.
const Check kRoundedRoot = {.tolerance = 1e-7};
const char* const kGelu = R"((x: f32[N,7]) -> (y) {
    symbol N input 1..
    y = Gelu(x) {approximate: "none"}
  })";

void fuses(const std::string& nodes) {
  expect_rewrite("fuse_gelu", kHead + nodes + "}", kGelu, kRoundedRoot);
}
void kept(const std::string& nodes) { expect_kept("fuse_gelu", kHead + nodes + "}"); }

TEST(FuseGelu, Spellings) {
  // PyTorch, both exporters
  fuses("a = Div(x, root) \n e = Erf(a) \n g = Add(e, one) \n p = Mul(x, g) \n y = Mul(p, half)");
  // a product with 1 / sqrt 2, the half before
  fuses(
      "a = Mul(x, root_half) \n e = Erf(a) \n g = Add(one, e) \n h = Mul(half, x) \n y = Mul(h, "
      "g)");
  // the half on the gate
  fuses(
      "a = Mul(root_half, x) \n e = Erf(a) \n g = Add(e, one) \n h = Mul(g, half) \n y = Mul(x, "
      "h)");
  // a quotient by 2
  fuses("a = Div(x, root) \n e = Erf(a) \n g = Add(e, one) \n p = Mul(g, x) \n y = Div(p, two)");
  fuses("a = Div(x, root) \n e = Erf(a) \n g = Add(e, one) \n h = Div(x, two) \n y = Mul(h, g)");
  // the half multiplied into the gate
  fuses("a = Div(x, root) \n e = Erf(a) \n h = Mul(e, half) \n g = Add(h, half) \n y = Mul(x, g)");
  fuses(
      "a = Mul(x, root_half) \n e = Erf(a) \n h = Div(e, two) \n g = Add(half, h) \n y = Mul(g, "
      "x)");
  // multiplied out
  fuses("a = Div(x, root) \n e = Erf(a) \n h = Mul(x, half) \n p = Mul(h, e) \n y = Add(h, p)");
  fuses(
      "a = Div(x, root) \n e = Erf(a) \n h = Mul(x, half) \n q = Mul(x, e) \n p = Mul(q, half) \n "
      "y = Add(p, h)");
  fuses("a = Div(x, root) \n e = Erf(a) \n p = Mul(x, e) \n s = Add(x, p) \n y = Mul(half, s)");
  // the other tail
  fuses("a = Mul(x, minus) \n e = Erf(a) \n g = Sub(one, e) \n p = Mul(x, g) \n y = Mul(p, half)");
  fuses(
      "a = Div(x, root) \n n = Neg(a) \n e = Erf(n) \n g = Sub(one, e) \n h = Mul(x, half) \n y = "
      "Mul(h, g)");
}

TEST(FuseGelu, TanhSpellings) {
  const std::string head = R"((x: f32[N,7]) -> (y) {
    symbol N input 1..
    const three: f32[] = {3}
    const cubic: f32[] = {0.044715}
    const root: f32[] = {0.7978845608028654}
    const half: f32[] = {0.5}
    const one: f32[] = {1}
)";
  const char* after = R"((x: f32[N,7]) -> (y) {
    symbol N input 1..
    y = Gelu(x) {approximate: "tanh"}
  })";
  const std::string gate =
      "c = Mul(k, cubic) \n s = Add(x, c) \n r = Mul(s, root) \n t = Tanh(r) \n g = Add(t, one) \n";
  const auto fuses_to = [&](const std::string& nodes) {
    expect_rewrite("fuse_gelu", head + nodes + "}", after, kRoundedRoot);
  };
  fuses_to("k = Pow(x, three) \n" + gate + "p = Mul(x, g) \n y = Mul(p, half)");
  fuses_to("q = Mul(x, x) \n k = Mul(x, q) \n" + gate + "h = Mul(half, x) \n y = Mul(h, g)");
  fuses_to("q = Mul(x, x) \n k = Mul(q, x) \n" + gate + "h = Mul(half, g) \n y = Mul(h, x)");
  const auto stays = [&](const std::string& nodes) {
    expect_kept("fuse_gelu", head + nodes + "}");
  };
  stays("k = Mul(x, x) \n" + gate + "p = Mul(x, g) \n y = Mul(p, half)");     // a square
  stays("k = Pow(x, half) \n" + gate + "p = Mul(x, g) \n y = Mul(p, half)");  // a root
  stays("a = Relu(x) \n k = Pow(a, three) \n" + gate +
        "p = Mul(x, g) \n y = Mul(p, half)");  // the cube of another value
  stays(
      "k = Pow(x, three) \n c = Mul(k, root) \n s = Add(x, c) \n r = Mul(s, root) \n t = Tanh(r) "
      "\n g = Add(t, one) \n p = Mul(x, g) \n y = Mul(p, half)");
  stays(
      "k = Pow(x, three) \n c = Mul(k, cubic) \n s = Sub(x, c) \n r = Mul(s, root) \n t = Tanh(r) "
      "\n g = Add(t, one) \n p = Mul(x, g) \n y = Mul(p, half)");
}

// Simplifiers move the half into the next weights.
TEST(FuseGelu, AnotherFactorStays) {
  expect_rewrite("fuse_gelu",
                 kHead + "a = Div(x, root) \n e = Erf(a) \n g = Add(e, one) \n y = Mul(x, g) }",
                 R"((x: f32[N,7]) -> (y) {
    symbol N input 1..
    const factor: f32[] = {2}
    g = Gelu(x) {approximate: "none"}
    y = Mul(g, factor)
  })",
                 kRoundedRoot);
}

// The value may itself be a product, and the result a factor of another one.
TEST(FuseGelu, AmongOtherProducts) {
  expect_rewrite("fuse_gelu", R"((x: f32[3,7], u: f32[3,7]) -> (y) {
    const root: f32[] = {1.4142135381698608}
    const half: f32[] = {0.5}
    const one: f32[] = {1}
    v = Mul(x, u)
    a = Div(v, root)
    e = Erf(a)
    g = Add(e, one)
    p = Mul(v, g)
    q = Mul(p, half)
    y = Mul(q, u)
  })",
                 R"((x: f32[3,7], u: f32[3,7]) -> (y) {
    v = Mul(x, u)
    g = Gelu(v) {approximate: "none"}
    y = Mul(g, u)
  })",
                 kRoundedRoot);
}

TEST(FuseGelu, NearMisses) {
  kept(
      "a = Mul(x, half) \n e = Erf(a) \n g = Add(e, one) \n p = Mul(x, g) \n y = Mul(p, half)");  // erf(x / 2)
  kept(
      "a = Div(root, x) \n e = Erf(a) \n g = Add(e, one) \n p = Mul(x, g) \n y = Mul(p, half)");  // sqrt 2 / x
  kept(
      "a = Div(x, root) \n e = Erf(a) \n g = Add(e, half) \n p = Mul(x, g) \n y = Mul(p, half)");  // erf + 1/2
  kept(
      "a = Div(x, root) \n e = Erf(a) \n g = Sub(e, one) \n p = Mul(x, g) \n y = Mul(p, half)");  // erf - 1
  kept(
      "a = Div(x, root) \n e = Tanh(a) \n g = Add(e, one) \n p = Mul(x, g) \n y = Mul(p, half)");  // no erf
  kept(
      "b = Relu(x) \n a = Div(b, root) \n e = Erf(a) \n g = Add(e, one) \n p = Mul(x, g) \n y = "
      "Mul(p, half)");  // of another value
  kept(
      "a = Div(x, root) \n e = Erf(a) \n g = Add(e, one) \n p = Add(x, g) \n y = Mul(p, half)");  // no product
  kept(
      "a = Div(x, root) \n e = Erf(a) \n h = Mul(e, half) \n g = Add(h, one) \n y = Mul(x, g)");  // 1 + erf / 2
  kept(
      "a = Div(x, root) \n e = Erf(a) \n h = Div(half, e) \n g = Add(h, half) \n y = Mul(x, g)");  // upside down
  kept(
      "a = Div(x, root) \n e = Erf(a) \n h = Mul(x, half) \n q = Mul(x, e) \n y = Add(h, q)");  // x/2 + x erf
  kept(
      "b = Relu(x) \n a = Div(x, root) \n e = Erf(a) \n p = Mul(x, e) \n y = Add(b, p)");  // another
                                                                                           // summand
  kept(
      "a = Div(x, root) \n e = Erf(a) \n p = Mul(x, e) \n q = Mul(p, e) \n y = Add(x, q)");  // erf
                                                                                             // squared
  kept("a = Div(x, root) \n e = Erf(a) \n p = Mul(x, e) \n y = Sub(x, p)");  // the other tail
  kept("a = Div(x, root) \n e = Erf(a) \n g = Sub(one, e) \n p = Mul(x, g) \n y = Mul(p, half)");
  // The constant 1 has more axes than x, and so has the result.
  expect_kept("fuse_gelu", R"((x: f32[3,7]) -> (y) {
    const root: f32[1,1,1] = {1.4142135381698608}
    const half: f32[] = {0.5}
    const one: f32[] = {1}
    a = Div(x, root)
    e = Erf(a)
    g = Add(e, one)
    p = Mul(x, g)
    y = Mul(p, half)
  })");
  expect_kept("fuse_gelu", R"((x: f64[3,7]) -> (y) {
    const root: f64[] = {1.4142135381698608}
    const half: f64[] = {0.5}
    const one: f64[] = {1}
    a = Div(x, root)
    e = Erf(a)
    g = Add(e, one)
    p = Mul(x, g)
    y = Mul(p, half)
  })");
}

// Parts that are read elsewhere stay beside the fused node.
TEST(FuseGelu, PartsMayBeReadElsewhere) {
  expect_rewrite("fuse_gelu", R"((x: f32[3,7]) -> (y, e) {
    const root: f32[] = {1.4142135381698608}
    const half: f32[] = {0.5}
    const one: f32[] = {1}
    a = Div(x, root)
    e = Erf(a)
    g = Add(e, one)
    p = Mul(x, g)
    y = Mul(p, half)
  })",
                 R"((x: f32[3,7]) -> (y, e) {
    const root: f32[] = {1.4142135381698608}
    a = Div(x, root)
    e = Erf(a)
    y = Gelu(x) {approximate: "none"}
  })",
                 kRoundedRoot);
}

}  // namespace
}  // namespace vitrail::passes
