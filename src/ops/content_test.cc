// SPDX-License-Identifier: Apache-2.0
// Contents: what the shape rules of arithmetic say of the elements of small tensors whose values
// are expressions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ops/op.h"

namespace vitrail {
namespace {
using testing::ElementsAre;

const Expr kH = Expr::symbol("H"), kN = Expr::symbol("N");
const Ranges kRanges = {{"H", {8, 512}}, {"N", {1, 32}}};

ValueInfo value(std::vector<Expr> content, DType dtype = DType::i64) {
  return {dtype, {static_cast<int64_t>(content.size())}, nullptr, std::move(content)};
}
ValueInfo scalar(Expr content, DType dtype = DType::i64) {
  return {dtype, {}, nullptr, std::vector<Expr>{std::move(content)}};
}

// The content of the first output as text; empty when there is none.
std::vector<std::string> content_of(const char* op_name, std::vector<ValueInfo> inputs,
                                    Attrs attrs = {}) {
  InferContext ctx{attrs, {}, std::vector<ValueInfo>(1), op_name, {}, {}, {}};
  ctx.ranges = kRanges;
  ctx.data_symbol = [](const std::string& hint, const Expr&) { return Expr::symbol(hint); };
  for (const ValueInfo& in : inputs) ctx.inputs.push_back(&in);
  ctx.out().dtype = ctx.in(0).dtype;
  find_op("", op_name)->infer(ctx);
  std::vector<std::string> out;
  if (ctx.out().content)
    for (const Expr& e : *ctx.out().content) out.push_back(e.str());
  return out;
}
std::string text(const Expr& e) { return e.str(); }

TEST(Content, ArithmeticBroadcasts) {
  EXPECT_THAT(content_of("Add", {value({kN, kH}), scalar(1)}),
              ElementsAre(text(kN + 1), text(kH + 1)));
  EXPECT_THAT(content_of("Sub", {value({kN}), value({kH, 2})}),
              ElementsAre(text(kN - kH), text(kN - 2)));
  EXPECT_THAT(content_of("Mul", {value({kN, kH}), value({kH, 2})}),
              ElementsAre(text(kN * kH), text(kH * 2)));
  EXPECT_THAT(content_of("Max", {scalar(kH), scalar(3), scalar(kN)}),
              ElementsAre(text(max(max(kH, 3), kN))));
  EXPECT_THAT(content_of("Neg", {scalar(kH)}), ElementsAre(text(-kH)));
}

TEST(Content, IntegerDivisionNeedsKnownSigns) {
  EXPECT_THAT(content_of("Div", {scalar(kH), scalar(8)}), ElementsAre(text(floordiv(kH, 8))));
  // H is at least 8, so H - 1 is not negative.
  EXPECT_THAT(content_of("Div", {scalar(kH - 1), scalar(2)}),
              ElementsAre(text(floordiv(kH - 1, 2))));
  // Towards zero: -H / 8 is -(H / 8), not floor(-H / 8).
  EXPECT_THAT(content_of("Div", {scalar(-kH), scalar(8)}), ElementsAre(text(-floordiv(kH, 8))));
  EXPECT_THAT(content_of("Div", {scalar(kN - kH), scalar(8)}), ElementsAre());
  EXPECT_THAT(content_of("Div", {scalar(8 * (kN - kH)), scalar(8)}), ElementsAre(text(kN - kH)));
  EXPECT_THAT(content_of("Div", {scalar(kH), scalar(0)}), ElementsAre());
}

TEST(Content, ModHasTheSignOfTheDivisor) {
  EXPECT_THAT(content_of("Mod", {scalar(-kH), scalar(8)}), ElementsAre(text(mod(-kH, 8))));
  EXPECT_THAT(content_of("Mod", {scalar(kH), scalar(8)}, {{"fmod", int64_t{1}}}),
              ElementsAre(text(mod(kH, 8))));
}

TEST(Content, WholeNumbersPassThroughFloat) {
  EXPECT_THAT(content_of("Cast", {scalar(kH)}, {{"to", onnx_number_of(DType::f32)}}),
              ElementsAre("H"));
  EXPECT_THAT(content_of("Mul", {scalar(kH, DType::f32), scalar(2, DType::f32)}),
              ElementsAre("2*H"));
  EXPECT_THAT(content_of("Div", {scalar(2 * kH, DType::f32), scalar(2, DType::f32)}),
              ElementsAre("H"));
  EXPECT_THAT(content_of("Div", {scalar(kH, DType::f32), scalar(2, DType::f32)}), ElementsAre());
  EXPECT_THAT(content_of("Floor", {scalar(kH, DType::f32)}), ElementsAre("H"));
  EXPECT_THAT(content_of("Cast", {scalar(300)}, {{"to", onnx_number_of(DType::u8)}}),
              ElementsAre());
}

TEST(Content, ComparisonsUseRanges) {
  EXPECT_THAT(content_of("Equal", {value({kN, kN, 3}), value({-1, kN, 3})}),
              ElementsAre("0", "1", "1"));
  EXPECT_THAT(content_of("Equal", {scalar(kN), scalar(1)}), ElementsAre());
  EXPECT_THAT(content_of("Greater", {scalar(kH), scalar(7)}), ElementsAre("1"));
  EXPECT_THAT(content_of("LessOrEqual", {scalar(kN), scalar(32)}), ElementsAre("1"));
  EXPECT_THAT(content_of("Not", {scalar(1, DType::boolean)}), ElementsAre("0"));
}

TEST(Content, WhereChoosesByKnownConditions) {
  const ValueInfo condition = value({0, 1}, DType::boolean);
  EXPECT_THAT(content_of("Where", {condition, value({1, 1}), value({kN, kH})}),
              ElementsAre("N", "1"));
  const ValueInfo unknown{DType::boolean, {2}, nullptr, {}};
  EXPECT_THAT(content_of("Where", {unknown, value({kN, kN}), value({kN, kN})}), ElementsAre());
}

TEST(Content, ReductionsAndRanges) {
  EXPECT_THAT(content_of("ReduceProd", {value({kN, 3, kH})}), ElementsAre(text(kN * kH * 3)));
  EXPECT_THAT(content_of("ReduceMax", {value({4, 9})}), ElementsAre("9"));
  EXPECT_THAT(content_of("Range", {scalar(0), scalar(3), scalar(1)}), ElementsAre("0", "1", "2"));
  EXPECT_THAT(
      content_of("ConstantOfShape", {value({2})}, {{"value", Tensor::of<int64_t>({1}, {-1})}}),
      ElementsAre("-1", "-1"));
}

TEST(Content, OverflowLeavesNoContent) {
  EXPECT_THAT(content_of("Add", {scalar(INT64_MAX), scalar(1)}), ElementsAre());
  EXPECT_THAT(content_of("Mul", {scalar(INT64_MAX), scalar(2)}), ElementsAre());
  // 32 bits wrap, 8 bits keep none, float32 rounds above 2^24.
  const ValueInfo large = scalar(INT32_MAX, DType::i32), byte = scalar(3, DType::u8);
  EXPECT_THAT(content_of("Add", {large, scalar(1, DType::i32)}), ElementsAre());
  EXPECT_THAT(content_of("Sub", {byte, scalar(5, DType::u8)}), ElementsAre());
  EXPECT_THAT(content_of("Cast", {scalar((1 << 24) + 1)}, {{"to", onnx_number_of(DType::f32)}}),
              ElementsAre());
}

}  // namespace
}  // namespace vitrail
