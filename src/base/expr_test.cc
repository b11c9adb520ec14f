// SPDX-License-Identifier: Apache-2.0
#include "base/expr.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace vitrail {
namespace {
const Expr H = Expr::symbol("H"), W = Expr::symbol("W");

TEST(Expr, PaddingToAMultipleIsOneExpression) {
  EXPECT_EQ(H + mod(8 - mod(H, 8), 8), 8 * ceildiv(H, 8));
}
TEST(Expr, MultiplesLeaveTheDivision) {
  EXPECT_EQ(floordiv(8 * H + 3, 4), 2 * H);
  EXPECT_EQ(floordiv(8 * H - 2, 2) + 1, 4 * H);
  EXPECT_EQ(floordiv(floordiv(H, 2), 4), floordiv(H, 8));
  EXPECT_EQ(floordiv(H * W, W), H);
  const Expr padded = 8 * ceildiv(H, 8);
  EXPECT_EQ(floordiv(padded * W, padded), W);
}
TEST(Expr, TextParsesBack) {
  for (const Expr& e : {H * W * 3 - 7, max(H, W) + floordiv(H + 1, W), Expr(-5), min(H, 4) * -2})
    EXPECT_EQ(Expr::parse(e.str()), e) << e.str();
}
TEST(Expr, EvaluatesLikeIntegers) {
  for (int64_t h = -9; h < 10; ++h) {
    const Bindings at{{"H", h}, {"W", 5}};
    const int64_t m = ((h % 7) + 7) % 7;
    EXPECT_EQ(mod(H, 7).eval(at), m);
    EXPECT_EQ((floordiv(3 * H + 5, 6) * 6 + mod(3 * H + 5, 6)).eval(at), 3 * h + 5);
    EXPECT_EQ(Expr::parse("H*(W+1)-max(H,2)").eval(at), h * 6 - std::max<int64_t>(h, 2));
  }
}
TEST(Expr, BoundsHold) {
  const Ranges r{{"H", {1, 100}}};
  EXPECT_EQ((8 * ceildiv(H, 8)).bounds(r), (Interval{8, 104}));
}
TEST(Expr, BoundsSeeWhatRoundingLeaves) {
  EXPECT_EQ((8 * ceildiv(H, 8) - H).bounds({}), (Interval{0, 7}));
  EXPECT_EQ((H - 4 * floordiv(H + 1, 4)).bounds({}), (Interval{-1, 2}));
  EXPECT_EQ((8 * ceildiv(H, 8) - 4 * ceildiv(H, 4)).bounds({}), (Interval{-3, 7}));
  EXPECT_EQ(ceildiv(H * W + 1, 2).bounds({}).low, 1);
}
TEST(Expr, RefusesWhatIsWrong) {
  EXPECT_THROW(Expr::parse("H+"), Error);
  EXPECT_THROW(Expr::parse("f(1,2)"), Error);
  EXPECT_THROW(Expr::parse(std::string(100000, '(')), Error);
  EXPECT_THROW(floordiv(H, 0), Error);
  EXPECT_THROW(Expr(INT64_MAX) + 1, Error);
  EXPECT_THROW(H.eval({}), Error);
}

TEST(Expr, HostileTextsAreRefusedQuickly) {
  std::string power = "(a+b+c+d)", product = "N", sum = "s";
  for (int i = 0; i < 60; ++i) power += "*(a+b+c+d)";
  for (int i = 0; i < 100000; ++i) product += "*N";
  for (int i = 0; i < 100000; ++i) sum += "+s" + std::to_string(i);
  for (const std::string& text :
       {power, product, sum, std::string(100000, '('), std::string(100000, '-')})
    EXPECT_THROW(Expr::parse(text), Error) << text.substr(0, 20);
}
}  // namespace
}  // namespace vitrail
