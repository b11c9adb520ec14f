// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "passes/pass_testing.h"

namespace vitrail::passes {
namespace {

// CvT's attention: scores, and the values they mix.
TEST(EinsumToMatmul, Attention) {
  const std::string head =
      "(q: f32[N,3,L,5], k: f32[N,3,T,5]) -> (y) { symbol N input 1.. \n symbol L input 1.. \n "
      "symbol T input 1.. \n";
  expect_rewrite("einsum_to_matmul", head + "y = Einsum(q, k) {equation: \"bhlk,bhtk->bhlt\"} }",
                 head + "t = Transpose(k) {perm: i[0, 1, 3, 2]} \n y = MatMul(q, t) }");
  expect_rewrite("einsum_to_matmul",
                 "(a: f32[2,3,4,5], v: f32[2,3,5,7]) -> (y) { y = Einsum(a, v) {equation: \"b h l "
                 "t, b h t v -> b h l v\"} }",
                 "(a: f32[2,3,4,5], v: f32[2,3,5,7]) -> (y) { y = MatMul(a, v) }");
}

// Labels in any order, the result turned, one batch label or none.
TEST(EinsumToMatmul, OrdersOfLabels) {
  expect_rewrite(
      "einsum_to_matmul",
      "(a: f32[4,2,5], b: f32[5,7,2]) -> (y) { y = Einsum(a, b) {equation: \"ibk,kjb->jbi\"} }",
      R"((a: f32[4,2,5], b: f32[5,7,2]) -> (y) {
    s = Transpose(a) {perm: i[1, 0, 2]}
    t = Transpose(b) {perm: i[2, 0, 1]}
    p = MatMul(s, t)
    y = Transpose(p) {perm: i[2, 0, 1]}
  })");
  expect_rewrite("einsum_to_matmul",
                 "(a: f32[4,5], b: f32[5,7]) -> (y) { y = Einsum(a, b) {equation: \"ik,kj->ij\"} }",
                 "(a: f32[4,5], b: f32[5,7]) -> (y) { y = MatMul(a, b) }");
  // A batch of one in one operand repeats.
  expect_rewrite(
      "einsum_to_matmul",
      "(a: f32[1,4,5], b: f32[3,5,7]) -> (y) { y = Einsum(a, b) {equation: \"bik,bkj->bij\"} }",
      "(a: f32[1,4,5], b: f32[3,5,7]) -> (y) { y = MatMul(a, b) }");
}

TEST(EinsumToMatmul, NearMisses) {
  const auto kept = [](const char* equation) {
    expect_kept(
        "einsum_to_matmul",
        std::string("(a: f32[3,3,3], b: f32[3,3,3]) -> (y) { y = Einsum(a, b) {equation: \"") +
            equation + "\"} }");
  };
  kept("bik,bkj->bi");    // a sum over one operand alone
  kept("bik,bkj->ij");    // a sum over the batch
  kept("iik,bkj->bij");   // a diagonal
  kept("bik,bjl->bij");   // each operand summed alone
  kept("ijk,ljk->il");    // two labels summed
  kept("abk,cdk->abcd");  // two labels of rows
  kept("bik,bkj");        // result implied
  kept("...ik,...kj->...ij");
  expect_kept("einsum_to_matmul",
              "(a: f32[4,5], b: f32[5]) -> (y) { y = Einsum(a, b) {equation: \"ik,k->i\"} }");
  expect_kept("einsum_to_matmul", "(a: f32[4,5]) -> (y) { y = Einsum(a) {equation: \"ij->ji\"} }");
  expect_kept("einsum_to_matmul",
              "(a: f32[4,5], b: f32[5,3], c: f32[3,2]) -> (y) { y = Einsum(a, b, c) {equation: "
              "\"ij,jk,kl->il\"} }");
  // A summed extent of one repeats in Einsum, in MatMul it does not fit.
  expect_kept("einsum_to_matmul",
              "(a: f32[4,1], b: f32[5,7]) -> (y) { y = Einsum(a, b) {equation: \"ik,kj->ij\"} }");
}

}  // namespace
}  // namespace vitrail::passes
