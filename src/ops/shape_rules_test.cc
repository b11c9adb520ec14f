// SPDX-License-Identifier: Apache-2.0
// Shape rules on symbols: the glue that exporters write must dissolve into expressions; what is
// wrong must be named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <limits>

#include "ops/rules.h"
#include "ops/sample.h"

namespace vitrail {
namespace {

const Expr N = Expr::symbol("N"), C = Expr::symbol("C"), H = Expr::symbol("H"),
           W = Expr::symbol("W");
using Ints = std::vector<int64_t>;

// A graph of rules only: values are infos, ops run their shape rule at once.
class Rules : public testing::Test {
 protected:
  using Value = const ValueInfo*;
  Value input(DType dtype, Shape shape) { return keep({dtype, std::move(shape), nullptr, {}}); }
  Value image() { return input(DType::f32, {N, C, H, W}); }
  Value constant(Tensor t) {
    const Tensor& kept = tensors_.emplace_back(std::move(t));
    return keep({kept.dtype(), to_shape(kept.dims()), &kept, {}});
  }
  Value list(Ints v) { return constant(Tensor::of<int64_t>({static_cast<int64_t>(v.size())}, v)); }
  Value number(int64_t v) { return constant(Tensor::scalar<int64_t>(v)); }

  std::vector<Value> all(const char* name, std::vector<Value> inputs, Attrs attrs = {},
                         int outputs = 1) {
    const OpDef* op = find_op("", name);
    if (!op) throw std::runtime_error(std::string("no op ") + name);
    InferContext ctx{attrs,
                     std::move(inputs),
                     std::vector<ValueInfo>(static_cast<size_t>(outputs)),
                     name,
                     {},
                     {},
                     {}};
    for (ValueInfo& out : ctx.outputs) out.dtype = ctx.in(0).dtype;
    ctx.ranges = {{"N", {1, Interval::kUnbounded}},
                  {"C", {1, Interval::kUnbounded}},
                  {"H", {1, Interval::kUnbounded}},
                  {"W", {1, Interval::kUnbounded}}};
    ctx.data_symbol = [&](const std::string& hint, const Expr& bound) {
      bounds_.push_back(bound);
      return Expr::symbol("data." + hint);
    };
    op->infer(ctx);
    guards_.insert(guards_.end(), ctx.equalities.begin(), ctx.equalities.end());
    warnings_.insert(warnings_.end(), ctx.warnings.begin(), ctx.warnings.end());
    std::vector<Value> out;
    for (ValueInfo& info : ctx.outputs) out.push_back(keep(std::move(info)));
    return out;
  }
  Value op(const char* name, std::vector<Value> inputs, Attrs attrs = {}) {
    return all(name, std::move(inputs), std::move(attrs))[0];
  }
  // Shape -> Gather -> Unsqueeze, as the PyTorch exporter reads one extent.
  Value extent(Value x, int64_t axis) {
    return op("Unsqueeze", {op("Gather", {op("Shape", {x}), number(axis)}), list({0})});
  }

  std::vector<Equality> guards_;
  std::vector<std::string> warnings_;
  std::vector<Expr> bounds_;

 private:
  Value keep(ValueInfo info) { return &infos_.emplace_back(std::move(info)); }
  std::deque<ValueInfo> infos_;
  std::deque<Tensor> tensors_;
};

TEST_F(Rules, ReshapeByGatheredExtents) {
  const Value x = image();
  const Value target =
      op("Concat", {extent(x, 0), extent(x, 1), op("Mul", {extent(x, 2), extent(x, 3)})},
         {{"axis", int64_t{0}}});
  EXPECT_EQ(op("Reshape", {x, target})->shape, (Shape{N, C, H * W}));
  const Value rest = op("Concat", {extent(x, 0), extent(x, 1), list({-1})}, {{"axis", int64_t{0}}});
  EXPECT_EQ(op("Reshape", {x, rest})->shape, (Shape{N, C, H * W}));
  EXPECT_TRUE(guards_.empty());
}
TEST_F(Rules, ReshapeCancelsSumsBeforeItDivides) {
  const Value tokens = input(DType::f32, {N, H * W + 1, 384});
  const Value heads =
      op("Concat", {extent(tokens, 0), extent(tokens, 1), list({6, -1})}, {{"axis", int64_t{0}}});
  EXPECT_EQ(op("Reshape", {tokens, heads})->shape, (Shape{N, H * W + 1, 6, 64}));
  EXPECT_TRUE(guards_.empty());
}
TEST_F(Rules, ReshapeAssumesWhatItCannotProve) {
  EXPECT_EQ(op("Reshape", {input(DType::f32, {N, H}), list({4, -1})})->shape,
            (Shape{4, floordiv(N * H, 4)}));
  ASSERT_EQ(guards_.size(), 1u);
  EXPECT_EQ(guards_[0].a.eval({{"N", 2}, {"H", 6}}), guards_[0].b.eval({{"N", 2}, {"H", 6}}));
  EXPECT_NE(guards_[0].a.eval({{"N", 1}, {"H", 6}}), guards_[0].b.eval({{"N", 1}, {"H", 6}}));
  EXPECT_EQ(op("Reshape", {input(DType::f32, {N, 6}), list({1, 6})})->shape, (Shape{1, 6}));
  EXPECT_EQ(guards_.size(), 2u);
}
// torch.nn.functional.pad of the legacy exporter: pads as [w0, w1, h0, h1] filled up with zeros,
// reversed as pairs, transposed. MST++ pads H and W to multiples of 8 in this way, crops in the
// end.
TEST_F(Rules, PadsComputedFromExtents) {
  const Value x = image();
  const auto to_eight = [&](int64_t axis) {
    const Value rest = op("Mod", {extent(x, axis), list({8})});
    return op("Mod", {op("Sub", {list({8}), rest}), list({8})});
  };
  const Value given =
      op("Concat", {list({0}), to_eight(3), list({0}), to_eight(2)}, {{"axis", int64_t{0}}});
  const Value missing =
      op("ConstantOfShape", {list({4})}, {{"value", Tensor::of<int64_t>({1}, {0})}});
  const Value pairs =
      op("Reshape", {op("Concat", {given, missing}, {{"axis", int64_t{0}}}), list({-1, 2})});
  const Value reversed =
      op("Slice", {pairs, list({-1}), list({INT64_MIN + 1}), list({0}), list({-1})});
  const Value pads =
      op("Cast", {op("Reshape", {op("Transpose", {reversed}, {{"perm", Ints{1, 0}}}), list({-1})})},
         {{"to", int64_t{7}}});
  const Value padded = op("Pad", {x, pads}, {{"mode", "reflect"}});
  EXPECT_EQ(padded->shape, (Shape{N, C, 8 * ceildiv(H, 8), 8 * ceildiv(W, 8)}));
  const Value ends = op("Concat", {extent(x, 2), extent(x, 3)}, {{"axis", int64_t{0}}});
  EXPECT_EQ(op("Slice", {padded, list({0, 0}), ends, list({2, 3})})->shape, (Shape{N, C, H, W}));
  EXPECT_TRUE(guards_.empty());
}
TEST_F(Rules, ResizeToAnotherImagesExtents) {
  const Value x = image(), y = input(DType::f32, {N, C, 2 * H, 2 * W});
  const Value both =
      op("Concat",
         {op("Shape", {x}, {{"end", int64_t{2}}}), op("Shape", {y}, {{"start", int64_t{2}}})},
         {{"axis", int64_t{0}}});
  EXPECT_EQ(op("Resize", {x, nullptr, nullptr, both}, {{"mode", "linear"}})->shape,
            (Shape{N, C, 2 * H, 2 * W}));
  const Value scales = constant(Tensor::of<float>({4}, {1, 1, 0.7f, 0.5f}));
  EXPECT_EQ(op("Resize", {x, nullptr, scales})->shape,
            (Shape{N, C, floordiv(7 * H, 10), floordiv(W, 2)}));
}
TEST_F(Rules, SliceOfSymbols) {
  const Value x = input(DType::f32, {N, H * W + 1});
  const auto slice = [&](int64_t start, int64_t end, int64_t step) {
    return op("Slice", {x, list({start}), list({end}), list({1}), list({step})})->shape[1];
  };
  EXPECT_EQ(slice(1, INT64_MAX, 1), H * W);
  EXPECT_EQ(slice(0, 1, 1), 1);
  EXPECT_EQ(slice(-1, INT64_MAX, 1), 1);
  EXPECT_EQ(slice(0, -1, 1), H * W);
  EXPECT_EQ(slice(-1, INT64_MIN, -1), H * W + 1);
  EXPECT_EQ(slice(INT64_MAX, INT64_MIN, -1), H * W + 1);
  EXPECT_EQ(slice(0, INT64_MAX, 2), ceildiv(H * W + 1, 2));
  EXPECT_EQ(slice(0, 7, 1), min(H * W + 1, 7));
  EXPECT_EQ(slice(5, INT64_MAX, 1), max(H * W - 4, 0));
  EXPECT_TRUE(guards_.empty());
}
TEST_F(Rules, SplitOfSymbols) {
  const auto thirds = all("Split", {input(DType::f32, {N, 3 * C})},
                          {{"axis", int64_t{1}}, {"num_outputs", int64_t{3}}}, 3);
  for (Value third : thirds) EXPECT_EQ(third->shape, (Shape{N, C}));
  const auto uneven = all("Split", {input(DType::f32, {7})}, {{"num_outputs", int64_t{3}}}, 3);
  EXPECT_EQ(uneven[2]->shape, (Shape{1}));
  const Value sizes = op("Concat", {list({1}), op("Mul", {extent(image(), 2), extent(image(), 3)})},
                         {{"axis", int64_t{0}}});
  const auto token =
      all("Split", {input(DType::f32, {N, H * W + 1}), sizes}, {{"axis", int64_t{1}}}, 2);
  EXPECT_EQ(token[1]->shape, (Shape{N, H * W}));
  EXPECT_TRUE(guards_.empty());
  const auto parts = all("Split", {op("Shape", {image()})}, {{"num_outputs", int64_t{2}}}, 2);
  EXPECT_EQ(*parts[1]->content, (std::vector<Expr>{H, W}));
}
TEST_F(Rules, SqueezeKeepsASymbolicBatch) {
  EXPECT_EQ(op("Squeeze", {input(DType::f32, {N, 1, 1000})})->shape, (Shape{N, 1000}));
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_THAT(warnings_[0], testing::HasSubstr("axis 0"));
  EXPECT_EQ(op("Squeeze", {input(DType::f32, {1, 1, 1000})})->shape, (Shape{1000}));
  EXPECT_EQ(op("Squeeze", {input(DType::f32, {N, H}), list({1})})->shape, (Shape{N}));
  EXPECT_EQ(guards_.size(), 1u);  // H is 1
}
TEST_F(Rules, ExpandWhereMinusOneKeepsTheExtent) {
  // x.expand(N, -1, -1): the exporter writes Where(shape == -1, 1, shape).
  const Value wanted = op("Concat", {extent(image(), 0), list({-1, -1})}, {{"axis", int64_t{0}}});
  const Value ones = op("ConstantOfShape", {list({3})}, {{"value", Tensor::of<int64_t>({1}, {1})}});
  const Value same = op("Equal", {wanted, op("Mul", {ones, list({-1})})});
  EXPECT_EQ(
      op("Expand", {input(DType::f32, {1, 1, 384}), op("Where", {same, ones, wanted})})->shape,
      (Shape{N, 1, 384}));
}
TEST_F(Rules, ConvolutionOfSymbols) {
  const Value w = input(DType::f32, {8, 3, 3, 3});
  const Value x = input(DType::f32, {N, 3, H, W});
  EXPECT_EQ(op("Conv", {x, w}, {{"pads", Ints{1, 1, 1, 1}}, {"strides", Ints{2, 1}}})->shape,
            (Shape{N, 8, floordiv(H - 1, 2) + 1, W}));
  EXPECT_EQ(op("Conv", {x, w}, {{"auto_pad", "SAME_UPPER"}, {"strides", Ints{2, 1}}})->shape,
            (Shape{N, 8, ceildiv(H, 2), W}));
  const Value up = input(DType::f32, {3, 8, 2, 2});
  EXPECT_EQ(op("ConvTranspose", {x, up}, {{"strides", Ints{2, 2}}})->shape,
            (Shape{N, 8, 2 * H, 2 * W}));
}
TEST_F(Rules, EinsumOfSymbols) {
  const Value q = input(DType::f32, {N, 6, H * W + 1, 64}),
              k = input(DType::f32, {N, 6, H + 1, 64});
  EXPECT_EQ(op("Einsum", {q, k}, {{"equation", "bhlk,bhtk->bhlt"}})->shape,
            (Shape{N, 6, H * W + 1, H + 1}));
  EXPECT_TRUE(guards_.empty());
}
TEST_F(Rules, DataDecidesWithABound) {
  const Value boxes = input(DType::f32, {N, 100, 4}), scores = input(DType::f32, {N, 5, 100});
  EXPECT_EQ(op("NonMaxSuppression", {boxes, scores, list({20})})->shape,
            (Shape{Expr::symbol("data.selected"), 3}));
  EXPECT_EQ(bounds_.back(), N * 100);
  EXPECT_EQ(op("NonZero", {image()})->shape[0], 4);
  EXPECT_EQ(bounds_.back(), N * C * H * W);
}

TEST_F(Rules, ScalesArePositive) {
  const Value x = input(DType::f32, {2, 3}), q = input(DType::i8, {2, 3});
  for (float step : {0.0f, -0.5f, std::numeric_limits<float>::quiet_NaN(),
                     std::numeric_limits<float>::infinity()}) {
    EXPECT_THROW(op("QuantizeLinear", {x, constant(Tensor::scalar(step))}), Error) << step;
    EXPECT_THROW(op("DequantizeLinear", {q, constant(Tensor::scalar(step))}), Error) << step;
  }
  EXPECT_EQ(op("QuantizeLinear", {x, constant(Tensor::scalar(0.5f))})->shape, (Shape{2, 3}));
}

TEST_F(Rules, RefusesWhatIsWrong) {
  const Value x = input(DType::f32, {2, 3, 8, 9}), w = input(DType::f32, {4, 3, 3, 3}),
              v = input(DType::f32, {6});
  const auto refused = [&](const char* name, std::vector<Value> inputs, Attrs attrs = {},
                           int outputs = 1) {
    try {
      all(name, std::move(inputs), std::move(attrs), outputs);
      ADD_FAILURE() << name << " takes it";
    } catch (const Error& error) {
      EXPECT_EQ(error.code, Code::bad_input) << name << ": " << error.what();
    }
  };
  const Value none = nullptr;
  refused("Reshape", {x, list({-1, -1})});
  refused("Reshape", {x, list({5, -1})});
  refused("Reshape", {x, list({7})});
  refused("Reshape", {x, list({-2, 3})});
  refused("Reshape", {x, list({1, 1, 1, 1, 0})});
  refused("Reshape", {input(DType::f32, {0, 3}), list({0, -1})});
  refused("Reshape", {x, list({0, -1})}, {{"allowzero", int64_t{1}}});
  refused("Reshape", {x, list({INT64_MAX, INT64_MAX, -1})});
  refused("Transpose", {x}, {{"perm", Ints{0, 1, 2}}});
  refused("Transpose", {x}, {{"perm", Ints{0, 1, 1, 2}}});
  refused("Transpose", {x}, {{"perm", Ints{0, 1, 2, 4}}});
  refused("Concat", {x, v}, {{"axis", int64_t{0}}});
  refused("Concat", {x, w}, {{"axis", int64_t{1}}});
  refused("Concat", {x, x}, {{"axis", int64_t{4}}});
  refused("Slice", {x, list({0}), list({1}), list({0}), list({0})});
  refused("Slice", {x, list({0}), list({1}), list({0}), list({INT64_MIN})});
  refused("Slice", {x, list({0, 0}), list({1, 1}), list({1, -3})});
  refused("Slice", {x, list({0, 0}), list({1})});
  refused("Squeeze", {x, list({1})});
  refused("Squeeze", {x, list({4})});
  refused("Unsqueeze", {x, list({0, 0})});
  refused("Unsqueeze", {x, list({-6})});
  refused("Flatten", {x}, {{"axis", int64_t{5}}});
  refused("Expand", {v, list({5})});
  refused("Expand", {v, list({-1})});
  refused("Tile", {v, list({-1})});
  refused("Tile", {v, list({INT64_MAX})});
  refused("Split", {v, list({1, 2})}, {}, 2);
  refused("Split", {v, list({-1, 7})}, {}, 2);
  refused("Split", {v}, {{"num_outputs", int64_t{3}}}, 2);
  refused("Pad", {v, list({-4, -4})});
  refused("Pad", {v, list({1})});
  refused("Pad", {v, list({INT64_MIN, INT64_MAX})});
  refused("Pad", {v, list({1, 1})}, {{"mode", "mirror"}});
  refused("Pad", {x, list({1, 1, 1, 1}), none, list({1, 1})});
  refused("Conv", {x, w}, {{"strides", Ints{0, 1}}});
  refused("Conv", {x, w}, {{"dilations", Ints{1, -1}}});
  refused("Conv", {x, w}, {{"group", int64_t{0}}});
  refused("Conv", {x, w}, {{"group", int64_t{2}}});
  refused("Conv", {x, w}, {{"kernel_shape", Ints{3}}});
  refused("Conv", {x, w}, {{"kernel_shape", Ints{3, 5}}});
  refused("Conv", {x, w}, {{"pads", Ints{1, 1}}});
  refused("Conv", {x, w}, {{"pads", Ints{-1, 0, 0, 0}}});
  refused("Conv", {x, w}, {{"dilations", Ints{9, 1}}});
  refused("Conv", {x, v});
  refused("Conv", {x, input(DType::f32, {4, 3, 0, 3})});
  refused("ConvTranspose", {x, input(DType::f32, {3, 4, 2, 2})}, {{"output_padding", Ints{1, 0}}});
  refused("ConvTranspose", {x, input(DType::f32, {3, 4, 2, 2})}, {{"pads", Ints{9, 9, 9, 9}}});
  refused("MaxPool", {x}, {{"kernel_shape", Ints{0, 2}}});
  refused("MaxPool", {x}, {{"kernel_shape", Ints{2}}});
  refused("AveragePool", {x}, {{"kernel_shape", Ints{20, 2}}});
  refused("MatMul", {x, v});
  refused("MatMul", {input(DType::f32, {}), v});
  refused("Gemm", {x, x});
  refused("Einsum", {x, w}, {{"equation", "abcd->abcd"}});
  refused("Einsum", {v}, {{"equation", "i->j"}});
  refused("Einsum", {v}, {{"equation", "ij->i"}});
  refused("Einsum", {v}, {{"equation", "i->ii"}});
  refused("Einsum", {v}, {{"equation", "i.->i"}});
  const auto scales = [&](float s) { return constant(Tensor::of<float>({1}, {s})); };
  for (const float s : {0.f, -1.f, std::nanf(""), INFINITY, 1e9f})
    refused("Resize", {v, none, scales(s)});
  refused("Resize", {v, none, scales(2), list({3})});
  refused("Resize", {v, none, none, list({-3})});
  refused("Resize", {v});
  refused("TopK", {v, list({7})}, {}, 2);
  refused("TopK", {v, list({-1})}, {}, 2);
  refused("DepthToSpace", {x}, {{"blocksize", int64_t{2}}});
  refused("DepthToSpace", {x}, {{"blocksize", int64_t{0}}});
  refused("GatherND", {x, constant(Tensor::of<int64_t>({1, 5}, {0, 0, 0, 0, 0}))});
  refused("ScatterND", {x, constant(Tensor::of<int64_t>({1, 1}, {0})), v});
  refused("ScatterElements", {v, list({0, 1}), v});
  refused("NonMaxSuppression", {x, x});
  refused("OneHot", {list({1}), list({-1}), constant(Tensor::of<float>({2}, {0, 1}))});
}

// What only data can violate.
TEST(References, RefuseWhatIsWrong) {
  const auto refused = [](const char* name, const std::vector<Tensor>& inputs, Attrs attrs = {},
                          int outputs = 1) {
    try {
      run_reference(*find_op("", name), attrs, inputs, outputs);
      ADD_FAILURE() << name << " takes it";
    } catch (const Error& error) {
      EXPECT_EQ(error.code, Code::bad_input) << name << ": " << error.what();
    }
  };
  const auto ints = [](Dims dims, Ints v) { return Tensor::of<int64_t>(std::move(dims), v); };
  const Tensor v = Tensor::of<float>({3}, {1, 2, 3});
  refused("Gather", {v, ints({1}, {3})});
  refused("Gather", {v, ints({1}, {-4})});
  refused("Gather", {v, ints({1}, {INT64_MIN})});
  refused("GatherElements", {v, ints({1}, {3})});
  refused("GatherND", {v, ints({1, 1}, {-4})});
  refused("ScatterND", {v, ints({1, 1}, {3}), Tensor::of<float>({1}, {9})});
  refused("ScatterElements", {v, ints({1}, {5}), Tensor::of<float>({1}, {9})});
  refused("Reshape", {v, ints({1}, {4})});
  refused("Slice", {v, ints({1}, {0}), ints({1}, {1}), ints({1}, {0}), ints({1}, {0})});
  refused("TopK", {v, ints({1}, {4})}, {}, 2);
  refused("Pad", {Tensor(DType::f32, {0}), ints({2}, {1, 1})}, {{"mode", "edge"}});
  refused("Compress", {v, Tensor::of<bool>({4}, {true, true, true, true})});
  const Tensor nan_box = Tensor::of<float>({1, 1, 4}, {0, 0, std::nanf(""), 1}),
               box = Tensor::of<float>({1, 1, 4}, {1, 1, 0, 0});
  const Tensor score = Tensor::of<float>({1, 1, 1}, {0.5f}), most = ints({1}, {1});
  refused("NonMaxSuppression", {nan_box, score, most});
  refused("NonMaxSuppression", {box, Tensor::of<float>({1, 1, 1}, {std::nanf("")}), most});
  refused("NonMaxSuppression", {box, score, most, Tensor::scalar(2.f)});
  EXPECT_EQ(run_reference(*find_op("", "NonMaxSuppression"), {}, {box, score, most})[0].dims(),
            (Dims{1, 3}));
}

}  // namespace
}  // namespace vitrail
