// SPDX-License-Identifier: Apache-2.0
// Small plans that hold what makes a runtime's life hard: control flow, extents that depend on
// data, integers beside floats, windows of one buffer, two targets in one file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "plan/plan_file.h"
#include "runtime/executor.h"
#include "runtime/toy.h"

namespace vitrail {
namespace {
using testing::ElementsAre;
using testing::ElementsAreArray;

std::shared_ptr<const Plan> share(toy::Maker& m) {
  // Every arena buffer lives throughout: the packer has its own tests.
  const auto steps = [](const auto& self, const Block& b) -> int {
    int n = 0;
    for (const Step& s : b) {
      ++n;
      for (const Block& inner : s.blocks) n += self(self, inner);
    }
    return n;
  };
  for (PlanBuffer& b : m.plan.buffers)
    if (b.kind == PlanBuffer::Kind::arena) b.last = std::max(0, steps(steps, m.plan.steps) - 1);
  return std::make_shared<const Plan>(m.plan);
}
Executor open(std::shared_ptr<const Plan> plan, int threads = 2) {
  return Executor(std::move(plan), {.threads = threads, .poison = true, .kernels = toy::kernels()});
}
std::vector<float> floats(const Executor& e, size_t output = 0) {
  const Tensor t = e.output(output);
  const auto s = t.span<float>();
  return {s.begin(), s.end()};
}

// y = flag ? 2x + 1 : (mean(x) > 0 ? -x : x / 2), the inner condition computed by the plan.
TEST(ToyPlans, IfWithHostStep) {
  toy::Maker m;
  const Expr n = m.symbol("N", 1, 2, 8);
  const int x = m.input("x", DType::f32, {n, 3}), flag = m.input("flag", DType::boolean, {});
  const int y = m.output("y", DType::f32, {n, 3});
  const int mean = m.temporary("mean", DType::f32, {}),
            above = m.temporary("above", DType::boolean, {});
  const int negated = m.temporary("negated", DType::f32, {n, 3}),
            halved = m.temporary("halved", DType::f32, {n, 3});
  const int inner_out = m.temporary("inner", DType::f32, {n, 3}),
            scaled = m.temporary("scaled", DType::f32, {n, 3});
  const int zero = m.constant("zero", Tensor::scalar(0.0f));
  Step inner{
      .kind = Step::Kind::branch, .name = "inner", .inputs = {above}, .outputs = {inner_out}};
  inner.blocks = {{toy::Maker::host("Neg", {x}, {negated})}, {m.scale("halve", x, halved, 0.5, 0)}};
  inner.block_outputs = {{negated}, {halved}};
  Step outer{.kind = Step::Kind::branch, .name = "outer", .inputs = {flag}, .outputs = {y}};
  outer.blocks = {{m.scale("scale", x, scaled, 2, 1)},
                  {toy::Maker::host("ReduceMean", {x}, {mean}, {{"keepdims", int64_t{0}}}),
                   toy::Maker::host("Greater", {mean, zero}, {above}), inner}};
  outer.block_outputs = {{scaled}, {inner_out}};
  m.plan.steps = {outer};

  Executor e = open(share(m));
  const std::vector<float> up = {1, 2, 3, 4, 5, 6}, down = {-1, -2, -3};
  const bool yes = true, no = false;
  e.set_input(0, DType::f32, Dims{2, 3}, up.data());
  e.set_input(1, DType::boolean, {}, &yes);
  e.run();
  EXPECT_THAT(floats(e), ElementsAre(3, 5, 7, 9, 11, 13));
  e.set_input(1, DType::boolean, {}, &no);
  e.run();
  EXPECT_THAT(floats(e), ElementsAre(-1, -2, -3, -4, -5, -6));
  e.set_input(0, DType::f32, Dims{1, 3}, down.data());
  e.run();
  EXPECT_THAT(floats(e), ElementsAre(-0.5, -1, -1.5));
}

// r = Range(0, limit, 1), y = 10 r + 1: as many elements as the data say, none included.
TEST(ToyPlans, ExtentsFromData) {
  toy::Maker m;
  const int limit = m.input("limit", DType::f32, {});
  const Expr d = m.data_symbol("D", 5);
  const int from = m.constant("from", Tensor::scalar(0.0f)),
            by = m.constant("by", Tensor::scalar(1.0f));
  const int range = m.temporary("range", DType::f32, {d}), y = m.output("y", DType::f32, {d});
  Step host = toy::Maker::host("Range", {from, limit, by}, {range});
  host.data_extents = {{.output = 0, .axis = 0, .symbol = "D"}};
  m.plan.steps = {host, m.scale("scale", range, y, 10, 1)};

  Executor e = open(share(m));
  for (const float count : {3.0f, 0.0f, 5.0f, 1.0f, 0.0f}) {
    e.set_input(0, DType::f32, {}, &count);
    e.run();
    EXPECT_THAT(e.output_dims(0), ElementsAre(static_cast<int64_t>(count)));
    for (int i = 0; i < static_cast<int>(count); ++i) EXPECT_EQ(floats(e)[i], 10 * i + 1);
  }
  const float too_many = 6;
  e.set_input(0, DType::f32, {}, &too_many);
  try {
    e.run();
    FAIL() << "more than the bound went through";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("D = 6, the plan has room for 5"));
  }
  const float fine = 2;  // the session goes on
  e.set_input(0, DType::f32, {}, &fine);
  e.run();
  EXPECT_THAT(floats(e), ElementsAre(1, 11));
}

// Detections: NonMaxSuppression, its indices as floats, times ten. None found is legal all the way.
TEST(ToyPlans, NonMaxSuppressionWithZeroDetections) {
  toy::Maker m;
  const Expr n = m.symbol("N", 1, 3, 10);
  const int boxes = m.input("boxes", DType::f32, {1, n, 4}),
            scores = m.input("scores", DType::f32, {1, 1, n});
  const Expr d = m.data_symbol("nms.0", n);
  const int most = m.constant("most", Tensor::of<int64_t>({1}, {10})),
            iou = m.constant("iou", Tensor::of<float>({1}, {0.5f}));
  const int threshold = m.constant("threshold", Tensor::of<float>({1}, {0.5f}));
  const int found = m.temporary("found", DType::i64, {d, 3}),
            as_float = m.temporary("float", DType::f32, {d, 3});
  const int y = m.output("y", DType::f32, {d, 3});
  Step nms = toy::Maker::host("NonMaxSuppression", {boxes, scores, most, iou, threshold}, {found});
  nms.data_extents = {{.output = 0, .axis = 0, .symbol = "nms.0"}};
  m.plan.steps = {nms, toy::Maker::host("Cast", {found}, {as_float}, {{"to", int64_t{1}}}),
                  m.scale("ten", as_float, y, 10, 0)};
  Executor e = open(share(m));
  // The first two overlap, the third lies apart.
  const std::vector<float> where = {0, 0, 10, 10, 0, 0, 10, 9, 20, 20, 30, 30};
  e.set_input(0, DType::f32, Dims{1, 3, 4}, where.data());
  for (const bool any : {true, false, true}) {
    const std::vector<float> how =
        any ? std::vector<float>{0.9f, 0.8f, 0.7f} : std::vector<float>{0.1f, 0.2f, 0.3f};
    e.set_input(1, DType::f32, Dims{1, 1, 3}, how.data());
    e.run();
    EXPECT_THAT(e.output_dims(0), ElementsAre(any ? 2 : 0, 3));
    EXPECT_EQ(floats(e), any ? (std::vector<float>{0, 0, 0, 0, 0, 20}) : std::vector<float>{});
  }
}

// x goes through int8 and back beside a float path: Q and DQ round and saturate, float does not.
TEST(ToyPlans, Int8BesideFloat) {
  toy::Maker m;
  const Expr n = m.symbol("N", 1, 4, 8);
  const int x = m.input("x", DType::f32, {n}), y = m.output("y", DType::f32, {n}),
            z = m.output("z", DType::f32, {n});
  const int scale = m.constant("scale", Tensor::scalar(0.5f)),
            zero = m.constant("zero", Tensor::scalar(int8_t{-3}));
  const int q = m.temporary("q", DType::i8, {n});
  m.plan.steps = {toy::Maker::host("QuantizeLinear", {x, scale, zero}, {q}),
                  m.scale("float", x, z, 2, 0),
                  toy::Maker::host("DequantizeLinear", {q, scale, zero}, {y})};
  Executor e = open(share(m));
  const std::vector<float> data = {0.26f, -0.26f, 100, -100, 0};
  e.set_input(0, DType::f32, Dims{5}, data.data());
  Tensor codes;
  e.run({.after = [&](int index, const Step&) {
    if (index == 0) codes = e.read_value(q);
  }});
  EXPECT_THAT(codes.span<int8_t>(), ElementsAre(-2, -4, 127, -128, -3));
  EXPECT_THAT(floats(e, 0), ElementsAre(0.5f, -0.5f, 65, -62.5f, 0));
  EXPECT_THAT(floats(e, 1), ElementsAre(0.52f, -0.52f, 200, -200, 0));
}

// Two producers write into windows of one buffer; the channels of the second are a reversed view.
TEST(ToyPlans, ConcatOfStridedViews) {
  toy::Maker m;
  const Expr n = m.symbol("N", 1, 1, 4), h = m.symbol("H", 1, 3, 9);
  const int x = m.input("x", DType::f32, {n, h, 2}), z = m.input("z", DType::f32, {n, h, 3});
  const int y = m.output("y", DType::f32, {n, h, 5});
  const int left = m.view("left", y, {n, h, 2}, 0, {5 * h, 5, 1});
  const int right = m.view("right", y, {n, h, 3}, 4, {5 * h, 5, -1});
  m.plan.steps = {m.scale("left", x, left, 1, 0), m.scale("right", z, right, 1, 100)};
  Executor e = open(share(m));
  for (const int64_t height : {3, 1, 9}) {
    std::vector<float> a(2 * height * 2), b(2 * height * 3), expected;
    for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i);
    for (size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(i);
    for (int64_t row = 0; row < 2 * height; ++row) {
      expected.insert(expected.end(), {a[2 * row], a[2 * row + 1]});
      for (int c = 2; c >= 0; --c) expected.push_back(b[3 * row + c] + 100);
    }
    e.set_input(0, DType::f32, Dims{2, height, 2}, a.data());
    e.set_input(1, DType::f32, Dims{2, height, 3}, b.data());
    e.run();
    EXPECT_THAT(floats(e), ElementsAreArray(expected));
  }
}

// Two targets with tables of their own share one weight, stored once.
TEST(ToyPlans, TwoTargetsShareAWeight) {
  std::vector<float> weights(64 * 64);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i % 7);
  const auto make = [&](const std::string& target, const std::string& extra) {
    toy::Maker m(target);
    const Expr n = m.symbol("N", 1, 2, 4);
    const int x = m.input("x", DType::f32, {n, 64}), y = m.output("y", DType::f32, {n, 64});
    const int w =
        m.constant("w" + extra, Tensor::of({64, 64}, weights));  // each target its own tensor
    m.plan.steps = {m.matmul("fc" + extra, x, w, y)};
    return m.plan;
  };
  const Plan cpu = make("cpu", ""), cuda = make("cuda:sm90", ".gpu");
  const std::string path = testing::TempDir() + "two_targets.vitrail";
  const Plan* const targets[] = {&cpu, &cuda};
  save_plan(path, targets);
  const PlanFile file = load_plan_file(path);
  EXPECT_EQ(file.weight_bytes, weights.size() * 4);
  ASSERT_EQ(file.blobs.size(), 1u);
  EXPECT_EQ(file.target("cpu")->constants[0].raw(), file.target("cuda:sm90")->constants[0].raw());
  EXPECT_EQ(file.target("cuda:sm90")->steps[0].name, "fc.gpu");
  try {
    file.target("cuda:sm70");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, Code::wrong_target);
    EXPECT_THAT(error.what(),
                testing::HasSubstr("holds plans for cpu, cuda:sm90, not for cuda:sm70"));
  }

  Executor e = open(file.target("cpu"));
  std::vector<float> x(3 * 64, 1.0f);
  e.set_input(0, DType::f32, Dims{3, 64}, x.data());
  e.run();
  float column = 0;
  for (int i = 0; i < 64; ++i) column += weights[i * 64 + 5];
  EXPECT_EQ(floats(e)[2 * 64 + 5], column);
  EXPECT_THROW(open(file.target("cuda:sm90")), Error);
  std::filesystem::remove(path);
}

// v, sum of 2^i, for as many rounds as the data say; each round's v is stacked. Two values change
// places every round.
TEST(ToyPlans, Loop) {
  toy::Maker m;
  const int trips = m.input("trips", DType::i64, {}), start = m.input("start", DType::f32, {2});
  const Expr d = m.data_symbol("rounds", 6);
  const int a = m.temporary("a", DType::f32, {2}), b = m.temporary("b", DType::f32, {2}),
            next = m.temporary("next", DType::f32, {2});
  const int round = m.temporary("round", DType::i64, {}),
            other = m.constant("other", Tensor::of<float>({2}, {7, 8}));
  const int out_a = m.output("a_end", DType::f32, {2}), out_b = m.output("b_end", DType::f32, {2}),
            rows = m.output("rows", DType::f32, {d, 2});
  Step loop{.kind = Step::Kind::loop,
            .name = "loop",
            .inputs = {trips, -1, start, other},
            .outputs = {out_a, out_b, rows}};
  loop.data_extents = {{.output = 2, .axis = 0, .symbol = "rounds"}};
  loop.blocks = {{m.scale("double", a, next, 2, 0)}};
  loop.block_inputs = {{round, -1, a, b}};
  loop.block_outputs = {{-1, b, next, next}};
  m.plan.steps = {loop};
  Executor e = open(share(m));
  const std::vector<float> x = {1, 10};
  e.set_input(1, DType::f32, Dims{2}, x.data());
  for (const int64_t n : {3, 0, 6}) {
    e.set_input(0, DType::i64, {}, &n);
    e.run();
    EXPECT_THAT(e.output_dims(2), ElementsAre(n, 2));
    if (n == 0) {
      EXPECT_THAT(floats(e, 0), ElementsAre(1, 10));
      EXPECT_THAT(floats(e, 1), ElementsAre(7, 8));
    }
    if (n == 3) {
      EXPECT_THAT(floats(e, 0), ElementsAre(14, 16));
      EXPECT_THAT(floats(e, 1), ElementsAre(4, 40));
      EXPECT_THAT(floats(e, 2), ElementsAre(2, 20, 14, 16, 4, 40));
    }
  }
  const int64_t too_many = 7;
  e.set_input(0, DType::i64, {}, &too_many);
  EXPECT_THROW(e.run(), Error);
}

}  // namespace
}  // namespace vitrail
