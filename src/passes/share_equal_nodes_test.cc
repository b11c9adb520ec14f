// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "passes/pass_testing.h"

namespace vitrail::passes {
namespace {

TEST(ShareEqualNodes, SameOpAttributesAndInputs) {
  expect_rewrite("share_equal_nodes", R"((x: f32[N,3,7]) -> (y) {
    symbol N input 1..
    a = Transpose(x) {perm: i[0, 2, 1]}
    b = Transpose(x) {perm: i[0, 2, 1]}
    c = Relu(a)
    d = Relu(b)
    y = Sub(c, d)
  })",
                 R"((x: f32[N,3,7]) -> (y) {
    symbol N input 1..
    a = Transpose(x) {perm: i[0, 2, 1]}
    c = Relu(a)
    y = Sub(c, c)
  })");
}

// Exporters write the same small number once for each use.
TEST(ShareEqualNodes, EqualConstants) {
  expect_rewrite("share_equal_nodes", R"((x: f32[3]) -> (y) {
    const p: f32[] = {1e-5}
    const q: f32[] = {1e-5}
    a = Add(x, p)
    b = Add(x, q)
    y = Mul(a, b)
  })",
                 R"((x: f32[3]) -> (y) {
    const p: f32[] = {1e-5}
    a = Add(x, p)
    y = Mul(a, a)
  })");
}

TEST(ShareEqualNodes, NearMisses) {
  const auto kept = [](const std::string& a, const std::string& b) {
    expect_kept("share_equal_nodes",
                "(x: f32[3,3], u: f32[3,3]) -> (y) { const p: f32[] = {0} \n const q: f32[] = "
                "{-0.0} \n const r: f32[1] = {0} \n a = " +
                    a + "\n b = " + b + "\n y = Sub(a, b) }");
  };
  kept("Relu(x)", "Neg(x)");                                       // another op
  kept("LeakyRelu(x) {alpha: 0.1}", "LeakyRelu(x) {alpha: 0.2}");  // another attribute
  kept("LeakyRelu(x) {alpha: 0.01}",
       "LeakyRelu(x)");            // given and by default: not known to be equal
  kept("Sub(x, u)", "Sub(u, x)");  // operands swapped
  kept("Div(x, p)", "Div(x, q)");  // 0 and -0
  kept("Add(x, p)", "Add(x, r)");  // a scalar and a vector of one
}

// Two outputs of the model keep both names.
TEST(ShareEqualNodes, OutputsStay) {
  expect_kept("share_equal_nodes", "(x: f32[3]) -> (y, z) { y = Relu(x) \n z = Relu(x) }");
}

// A result that only the second node of two leaves must not vanish with it.
TEST(ShareEqualNodes, ResultsLeftOut) {
  expect_kept("share_equal_nodes", R"((x: f32[2,3,5]) -> (y) {
    const scale: f32[5] = {1, 2, 3, 4, 5}
    a, _, d = LayerNormalization(x, scale) {axis: -1}
    b, m, e = LayerNormalization(x, scale) {axis: -1}
    s = Add(a, b)
    t = Sub(d, e)
    u = Add(t, m)
    y = Add(s, u)
  })");
}

// The extents of two NonZero are two symbols; merging them would leave one without a writer.
TEST(ShareEqualNodes, ExtentsThatDependOnData) {
  expect_kept("share_equal_nodes", R"((x: f32[5]) -> (y) {
    symbol a.count data 5
    symbol b.count data 5
    a: i64[1,a.count] = NonZero(x)
    b: i64[1,b.count] = NonZero(x)
    y = Concat(a, b) {axis: 1}
  })");
}

}  // namespace
}  // namespace vitrail::passes
