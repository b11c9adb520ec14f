// SPDX-License-Identifier: Apache-2.0
#include "oracle/oracle.h"

#include <gtest/gtest.h>

#include "ir/text.h"

namespace vitrail {
namespace {

TEST(Oracle, RunsFusionsByTheirBody) {
  const ir::Graph g = ir::parse(R"(graph "t" (x: f32[N,2], y: f32[N,2]) -> (b) {
  symbol N input 1..
  b: f32[N,2] = fusion "pointwise"(x, y) @"f" body (x: f32[N,2], y: f32[N,2]) -> (b) {
    t: f32[N,2] = Relu(x) @"r"
    b: f32[N,2] = Add(t, y) @"a"
  }
})");
  const Tensor x = Tensor::of<float>({1, 2}, {-1, 2}), y = Tensor::of<float>({1, 2}, {10, 20});
  const auto out = oracle::run(g, {x, y});
  EXPECT_EQ(out[0].number_at(0), 10);
  EXPECT_EQ(out[0].number_at(1), 22);
  EXPECT_EQ(oracle::run(g, {x, y}, {.precision = DType::f64})[0].dtype(), DType::f64);
}

TEST(Oracle, NamesTheExtentThatDoesNotFit) {
  const ir::Graph g = ir::parse(
      "graph \"t\" (x: f32[N,2]) -> (y) {\n symbol N input 1..\n y: f32[N,2] = Relu(x) @\"r\"\n}");
  try {
    oracle::run(g, {Tensor::of<float>({1, 3}, {1, 2, 3})});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code, Code::bad_input);
    EXPECT_NE(std::string(e.what()).find("must be 2, found 3"), std::string::npos) << e.what();
  }
}

TEST(Oracle, HalfValuesAreRounded) {
  ir::Graph g;
  const auto x = g.add_input("x", DType::f16, {1});
  g.outputs = {g.op("Add", {x, x})};
  const auto out = oracle::run(g, {Tensor::of<float>({1}, {0.1f})});
  EXPECT_EQ(out[0].number_at(0), f16_to_float(float_to_f16(2 * f16_to_float(float_to_f16(0.1f)))));
}

TEST(Oracle, RowsOfNoRoundsHaveTheirExtents) {
  const ir::Graph g = ir::parse(R"(graph "t" (x: f32[N,2]) -> (rows) {
  symbol N input 1..
  const none: i64[] = {0}
  const yes: bool[] = {1}
  last: f32[N,2], rows: f32[0,N,2] = Loop(none, yes, x) {carried: 1} @"loop" body (i: i64[], go: bool[], c: f32[N,2]) -> (go, c2, c2) {
    symbol N input 1..
    c2: f32[N,2] = Neg(c) @"neg"
  }
})");
  EXPECT_EQ(oracle::run(g, {Tensor::of<float>({3, 2}, {1, 2, 3, 4, 5, 6})})[0].dims(),
            (Dims{0, 3, 2}));
}

}  // namespace
}  // namespace vitrail
