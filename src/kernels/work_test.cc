// SPDX-License-Identifier: Apache-2.0
// FLOP and bytes of every family against figures worked out by hand.
#include "kernels/work.h"

#include <gtest/gtest.h>

#include <set>

#include "kernels/conv/samples.h"
#include "kernels/kernel.h"
#include "kernels/samples.h"

namespace vitrail {
namespace {

Problem gemm() {
  return sample_problem("gemm", {sample({197, 384}), weight(sample({384, 1536}))},
                        sample({197, 1536}));
}

struct Case {
  Problem problem;
  double flop, read, written;  // bytes in elements of 4
};

std::vector<Case> cases() {
  std::vector<Case> out;
  out.push_back({gemm(), 2.0 * 197 * 384 * 1536, 197 * 384 + 384 * 1536, 197 * 1536});
  // 3 x 3, 8 to 5 channels, one pixel around: 4 * 6 outputs of 5 channels, 72 products each.
  Problem conv = sample_problem("conv", {sample({1, 4, 6, 8}), weight(sample({5, 8, 3, 3}))},
                                sample({1, 4, 6, 5}));
  conv.ints = {{"pad_top", 1}, {"pad_left", 1}, {"pad_bottom", 1}, {"pad_right", 1}};
  out.push_back({conv, 2.0 * 4 * 6 * 5 * 72, 4 * 6 * 8 + 5 * 72, 4 * 6 * 5});
  // Two groups: half the products.
  Problem grouped = sample_problem("conv", {sample({1, 4, 6, 8}), weight(sample({6, 4, 3, 3}))},
                                   sample({1, 4, 6, 6}));
  grouped.ints = conv.ints;
  grouped.ints["group"] = 2;
  out.push_back({grouped, 2.0 * 4 * 6 * 6 * 36, 4 * 6 * 8 + 6 * 36, 4 * 6 * 6});
  // Kernel 2, stride 2: each output is hit by one tap of 3 channels.
  Problem transposed = sample_problem(
      "conv_transpose", {sample({1, 2, 2, 3}), weight(sample({3, 5, 2, 2}))}, sample({1, 4, 4, 5}));
  transposed.ints = {{"stride_h", 2}, {"stride_w", 2}};
  out.push_back({transposed, 2.0 * 16 * 5 * 3, 12 + 60, 80});
  Problem depthwise = sample_problem(
      "depthwise", {sample({2, 8, 8, 16}), weight(sample({16, 1, 3, 3}))}, sample({2, 8, 8, 16}));
  depthwise.ints = {{"pad_top", 1}, {"pad_left", 1}};
  out.push_back({depthwise, 2.0 * 9 * 2048, 2048 + 144, 2048});
  // Scores 6 * 197 * 50 * 64, values the same.
  out.push_back(
      {sample_problem("attention", {sample({6, 197, 64}), sample({6, 50, 64}), sample({6, 50, 64})},
                      sample({6, 197, 64})),
       2.0 * 2 * 6 * 197 * 50 * 64, 6 * (197 + 100) * 64, 6 * 197 * 64});
  // The lower triangle and the diagonal of 31 x 31, 100 products each.
  out.push_back({sample_problem("gram", {sample({1, 100, 31})}, sample({1, 31, 31})),
                 2.0 * 100 * 31 * 32 / 2, 3100, 961});
  // 1x1 from 8 to 32 on 5 x 6 pixels, 3 x 3 on each of 32, 1x1 to 8.
  out.push_back(
      {sample_problem("inverted",
                      {sample({1, 5, 6, 8}), weight(sample({8, 32})), sample({32}),
                       weight(sample({32, 1, 3, 3})), sample({32}), weight(sample({32, 8}))},
                      sample({1, 5, 6, 8})),
       2.0 * 30 * (8 * 32 + 9 * 32 + 32 * 8), 240 + 256 + 32 + 288 + 32 + 256, 240});
  // x Wv and x M, and two windows of nine: 7 to 7 channels on 4 x 5 pixels.
  out.push_back(
      {sample_problem("positional",
                      {sample({1, 4, 5, 7}), weight(sample({7, 7})), weight(sample({7, 1, 3, 3})),
                       sample({7}), weight(sample({7, 1, 3, 3})), sample({7}), sample({1, 7, 7})},
                      sample({1, 4, 5, 7})),
       2.0 * 20 * (2 * 7 * 7 + 2 * 9 * 7), 140 + 49 + 63 + 7 + 63 + 7 + 49, 140});
  // Two heads of depth 2 on 6 channels: G Wq and G Wk of 6 x 6 x 4, two heads' norms and scores of
  // 6 x 2 x 4 each, and what makes M of Wv, A and Wproj.
  Problem spectral = sample_problem("spectral",
                                    {sample({1, 6, 6}), sample({6, 4}), sample({6, 4}),
                                     sample({6, 4}), sample({2}), sample({4, 6})},
                                    sample({1, 6, 6}));
  spectral.ints = {{"heads", 2}};
  out.push_back(
      {spectral, 2.0 * (2 * 6 * 6 * 4 + 2 * 6 * 4 * 2 + 6 * 4 * 6), 36 + 24 * 3 + 2 + 24, 36});
  out.push_back(
      {sample_problem("layernorm", {sample({10, 64})}, sample({10, 64})), 8.0 * 640, 640, 640});
  out.push_back(
      {sample_problem("softmax", {sample({3, 50})}, sample({3, 50})), 20.0 * 150, 150, 150});
  out.push_back({sample_problem("reduce", {sample({8, 32})}, sample({8, 1})), 256, 256, 8});
  // Two instructions an element; the second operand is a row that repeats.
  Problem pointwise =
      sample_problem("pointwise", {sample({50, 12}), strided({50, 12}, {0, 1})}, sample({50, 12}));
  pointwise.epilogue_inputs = 1;
  pointwise.epilogue = {2, {{Pointwise::gelu, 0, 0, 0}, {Pointwise::add, 2, 1, 0}}, {3}};
  out.push_back({pointwise, 2.0 * 600, 600 + 12, 600});
  out.push_back({sample_problem("copy", {sample({4, 5})}, sample({4, 5})), 0, 20, 20});
  out.push_back({sample_problem("pad", {sample({1, 4, 4, 3})}, sample({1, 4, 6, 3})), 0, 48, 72});
  return out;
}

TEST(Work, IsWhatTheDefinitionsNeed) {
  for (const Case& c : cases()) {
    const Work work = work_of(bind(c.problem, {}));
    EXPECT_DOUBLE_EQ(work.flop, c.flop) << c.problem.str();
    EXPECT_DOUBLE_EQ(work.read, 4 * c.read) << c.problem.str();
    EXPECT_DOUBLE_EQ(work.written, 4 * c.written) << c.problem.str();
  }
}

TEST(Work, EveryFamilyIsWorkedOut) {
  std::set<std::string> known;
  for (const Case& c : cases()) known.insert(c.problem.family);
  for (const KernelFamily* family : all_families())
    EXPECT_TRUE(known.contains(family->name)) << family->name;
}

TEST(Work, BytesFollowTypesAndEmptyExtents) {
  Problem half = gemm();
  for (Operand& in : half.inputs) in.dtype = DType::f16;
  const Work work = work_of(bind(half, {}));
  EXPECT_DOUBLE_EQ(work.read, 2.0 * (197 * 384 + 384 * 1536));
  EXPECT_DOUBLE_EQ(work.written, 4.0 * 197 * 1536);
  EXPECT_DOUBLE_EQ(bytes_of({DType::f32, {0, 3}, {0, 1}, false}), 0);
}

TEST(Work, UnitsFollowFamilyAndFactors) {
  Problem p = gemm();
  EXPECT_EQ(units_of(p), Units::f32);
  p.ints["tf32"] = 1;
  EXPECT_EQ(units_of(p), Units::tf32);
  p.inputs[1].dtype = DType::f16;  // an image in float32 on weights in float16
  EXPECT_EQ(units_of(p), Units::f16);
  p.inputs[0].dtype = p.inputs[1].dtype = DType::bf16;
  EXPECT_EQ(units_of(p), Units::bf16);
  EXPECT_EQ(units_of(sample_problem("layernorm", {sample({10, 64})}, sample({10, 64}))),
            Units::vector);
}

}  // namespace
}  // namespace vitrail
