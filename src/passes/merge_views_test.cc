// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "passes/pass_testing.h"

namespace vitrail::passes {
namespace {

TEST(MergeViews, Transposes) {
  expect_rewrite(
      "merge_views",
      "(x: f32[N,3,5,7]) -> (y) { symbol N input 1.. \n a = Transpose(x) {perm: i[0, 2, 3, 1]} \n "
      "y = Transpose(a) {perm: i[1, 0, 3, 2]} }",
      "(x: f32[N,3,5,7]) -> (y) { symbol N input 1.. \n y = Transpose(x) {perm: i[2, 0, 1, 3]} }");
  // without perm the axes are reversed
  expect_rewrite("merge_views",
                 "(x: f32[2,3,5]) -> (y) { a = Transpose(x) \n b = Transpose(a) {perm: i[1, 0, 2]} "
                 "\n y = Relu(b) }",
                 "(x: f32[2,3,5]) -> (y) { b = Transpose(x) {perm: i[1, 2, 0]} \n y = Relu(b) }");
}

TEST(MergeViews, Reshapes) {
  const std::string head =
      "(x: f32[N,6,4]) -> (y) { symbol N input 1.. \n const p: i64[3] = {0, 3, 8} \n const q: "
      "i64[3] = {0, 8, 3} \n const a: i64[1] = {1} \n";
  expect_rewrite("merge_views", head + "r = Reshape(x, p) \n y = Reshape(r, q) }",
                 head + "y = Reshape(x, q) }");
  expect_rewrite("merge_views", head + "y = Unsqueeze(x, a) }",
                 head + "const s: i64[4] = {0, 1, 6, 4} \n y = Reshape(x, s) }");
  expect_rewrite("merge_views", head + "y = Flatten(x) {axis: 1} }",
                 head + "const s: i64[2] = {0, 24} \n y = Reshape(x, s) }");
  expect_rewrite("merge_views",
                 head + "r = Flatten(x) {axis: 2} \n u = Unsqueeze(r, a) \n y = Squeeze(u, a) }",
                 head + "const s: i64[2] = {-1, 4} \n y = Reshape(x, s) }");
}

// The first view stays for its other readers.
TEST(MergeViews, ReadElsewhere) {
  expect_rewrite("merge_views",
                 "(x: f32[2,3,5]) -> (y, a) { a = Transpose(x) {perm: i[0, 2, 1]} \n y = "
                 "Transpose(a) {perm: i[1, 0, 2]} }",
                 "(x: f32[2,3,5]) -> (y, a) { a = Transpose(x) {perm: i[0, 2, 1]} \n y = "
                 "Transpose(x) {perm: i[2, 0, 1]} }");
}

TEST(MergeViews, NearMisses) {
  expect_kept("merge_views",
              "(x: f32[2,3,5]) -> (y) { a = Transpose(x) {perm: i[0, 2, 1]} \n b = Relu(a) \n y = "
              "Transpose(b) {perm: i[0, 2, 1]} }");
  expect_kept(
      "merge_views",
      "(x: f32[2,3]) -> (y) { const s: i64[2] = {2, 3} \n a = Transpose(x) \n y = Reshape(a, s) }");
  // Two symbolic extents that a Reshape's input cannot both say.
  expect_kept("merge_views",
              "(x: f32[6,H,W]) -> (y) { symbol H input 1.. \n symbol W input 1.. \n const a: "
              "i64[2] = {0, 2} \n y = Unsqueeze(x, a) }");
}

}  // namespace
}  // namespace vitrail::passes
