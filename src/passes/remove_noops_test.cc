// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "passes/pass_testing.h"

namespace vitrail::passes {
namespace {

const std::string kHead = R"((x: f32[N,3,7]) -> (y) {
    symbol N input 1..
    const zero: f32[] = {0}
    const one: f32[] = {1}
    const start: i64[1] = {0}
    const end: i64[1] = {1000}
    const axis: i64[1] = {1}
    const shape: i64[3] = {-1, 3, 7}
    const rows: i64[3] = {1, 3, 1}
    const pads: i64[6] = {0, 0, 0, 0, 0, 0}
    a = Relu(x)
)";

TEST(RemoveNoops, WhatChangesNothing) {
  for (const char* node :
       {"Identity(a)", "Cast(a) {to: 1}", "Reshape(a, shape)", "Expand(a, rows)",
        "Transpose(a) {perm: i[0, 1, 2]}", "Slice(a, start, end, axis)", "Pad(a, pads)",
        "Concat(a) {axis: 1}", "Sum(a)", "Max(a)", "Mul(a, one)", "Div(a, one)", "Add(a, zero)",
        "Sub(a, zero)", "Split(a) {axis: 1, num_outputs: 1}", "Dropout(a)"})
    expect_rewrite("remove_noops", kHead + "b = " + node + "\n y = Neg(b) }",
                   "(x: f32[N,3,7]) -> (y) { symbol N input 1.. \n a = Relu(x) \n y = Neg(a) }");
}

TEST(RemoveNoops, NearMisses) {
  for (const char* node : {"Cast(a) {to: 11}", "Transpose(a) {perm: i[0, 2, 1]}",
                           "Slice(a, start, axis, axis)", "Sub(zero, a)", "Div(one, a)",
                           "Mul(a, zero)", "Add(a, one)", "Concat(a, a) {axis: 1}", "Sum(a, a)"})
    expect_kept("remove_noops", kHead + "y = " + node + "\n }");
  // Backwards over the whole axis: the extents stay, the order turns.
  expect_kept("remove_noops", R"((x: f32[5]) -> (y) {
    const start: i64[1] = {-1}
    const end: i64[1] = {-1000}
    const axis: i64[1] = {0}
    const step: i64[1] = {-1}
    a = Relu(x)
    y = Slice(a, start, end, axis, step)
  })");
  // Equal extents of two axes that change places.
  expect_kept("remove_noops", "(x: f32[5,5]) -> (y) { y = Transpose(x) }");
  // What is cut off on one side is put on at the other.
  expect_kept("remove_noops", "(x: f32[5]) -> (y) { const p: i64[2] = {-1, 1} \n y = Pad(x, p) }");
  // One, but of higher rank.
  expect_kept("remove_noops",
              "(x: f32[5]) -> (y) { const one: f32[1,1] = {1} \n y = Mul(x, one) }");
  // The mask of a Dropout that is read.
  expect_kept("remove_noops",
              "(x: f32[5]) -> (y, mask) { a = Relu(x) \n b, mask = Dropout(a) \n y = Neg(b) }");
}

TEST(RemoveNoops, TransposeOfExtentsOfOne) {
  expect_rewrite("remove_noops",
                 "(x: f32[N,1,1,7]) -> (y) { symbol N input 1.. \n a = Transpose(x) {perm: i[0, 2, "
                 "1, 3]} \n y = Relu(a) }",
                 "(x: f32[N,1,1,7]) -> (y) { symbol N input 1.. \n y = Relu(x) }");
  // the extent of one moves past another: another shape
  expect_kept("remove_noops",
              "(x: f32[N,1,7]) -> (y) { symbol N input 1.. \n a = Transpose(x) {perm: i[0, 2, 1]} "
              "\n y = Relu(a) }");
}

// A model's output needs a node where the value behind it is an input or another output.
TEST(RemoveNoops, OutputsStay) {
  expect_kept("remove_noops", "(x: f32[5]) -> (y) { y = Identity(x) }");
  expect_kept("remove_noops",
              "(x: f32[5]) -> (y) { const c: f32[5] = {1, 2, 3, 4, 5} \n y = Identity(c) }");
  expect_kept("remove_noops", "(x: f32[5]) -> (y, z) { y = Relu(x) \n z = Identity(y) }");
  expect_rewrite("remove_noops", "(x: f32[5]) -> (z) { y = Relu(x) \n z = Identity(y) }",
                 "(x: f32[5]) -> (z) { z = Relu(x) }");
}

}  // namespace
}  // namespace vitrail::passes
