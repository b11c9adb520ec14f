// SPDX-License-Identifier: Apache-2.0
#include "vitrail/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <random>
#include <thread>

#include "base/tensor.h"
#include "plan/plan_file.h"
#include "runtime/executor.h"
#include "runtime/toy.h"

extern std::atomic<int64_t> allocations;  // count_allocations.cc

namespace vitrail {
namespace {
using testing::ElementsAre;
using testing::HasSubstr;

// layers of x -> 2 * (x w) + 1 on [N, 16], ping-pong in the arena.
Plan chain(int layers, int64_t max_n = 64) {
  toy::Maker m;
  const Expr n = m.symbol("N", 1, 8, max_n);
  const int x = m.input("x", DType::f32, {n, 16}), y = m.output("y", DType::f32, {n, 16});
  std::vector<float> weights(256);
  for (size_t i = 0; i < weights.size(); ++i)
    weights[i] = static_cast<float>((i * 7) % 5) / 16.0f - 0.1f;
  const int w = m.constant("w", Tensor::of({16, 16}, weights));
  int from = x, step = 0;
  for (int i = 0; i < layers; ++i) {
    const int product = m.temporary("p" + std::to_string(i), DType::f32, {n, 16});
    const int to = i + 1 == layers ? y : m.temporary("t" + std::to_string(i), DType::f32, {n, 16});
    m.plan.steps.push_back(m.matmul("fc" + std::to_string(i), from, w, product));
    m.plan.steps.push_back(m.scale("act" + std::to_string(i), product, to, 2, 1));
    PlanBuffer& a = m.plan.buffers[m.plan.values[product].buffer];
    a.first = step, a.last = step + 1;
    PlanBuffer& b = m.plan.buffers[m.plan.values[to].buffer];
    b.first = step + 1, b.last = step + 2;
    step += 2;
    from = to;
  }
  return m.plan;
}
std::vector<float> expected(const Plan& plan, std::vector<float> x, int layers) {
  const auto w = plan.constants[0].span<float>();
  for (int l = 0; l < layers; ++l) {
    std::vector<float> next(x.size());
    for (size_t row = 0; row < x.size() / 16; ++row)
      for (size_t j = 0; j < 16; ++j) {
        float half[2] = {};
        for (size_t k = 0; k < 16; ++k) half[k / 8] += x[row * 16 + k] * w[k * 16 + j];
        next[row * 16 + j] = 2 * (half[0] + half[1]) + 1;
      }
    x = next;
  }
  return x;
}
std::vector<float> random_input(int64_t rows, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> x(static_cast<size_t>(rows) * 16);
  for (float& v : x) v = static_cast<float>(random() % 2000) / 1000.0f - 1.0f;
  return x;
}
std::vector<float> result(const Executor& e) {
  const auto* data = static_cast<const float*>(e.output_data(0));
  return {data, data + element_count(e.output_dims(0))};
}

TEST(Executor, ShapesComeAndGoAndTheArenaIsReused) {
  const Plan plan = chain(6);
  Executor e(std::make_shared<const Plan>(plan),
             {.threads = 3, .poison = true, .kernels = toy::kernels()});
  for (int round = 0; round < 3; ++round)
    for (int64_t n = 1; n <= 12; ++n) {  // more shapes than are remembered
      const std::vector<float> x = random_input(n, static_cast<unsigned>(n));
      const std::vector<float> kept = x;
      e.set_input(0, DType::f32, Dims{n, 16}, x.data());
      e.run();
      EXPECT_EQ(result(e), expected(plan, x, 6)) << n;
      EXPECT_EQ(x, kept);  // inputs are not written
    }
  // Two buffers live at any time, each [N, 16] at most 12 rows.
  EXPECT_LE(e.memory().arena, 4096);
}

TEST(Executor, ASecondRunOfAShapeAllocatesNothing) {
  for (const int threads : {1, 2}) {
    const Plan plan = chain(10);
    Executor e(std::make_shared<const Plan>(plan), {.threads = threads, .kernels = toy::kernels()});
    const std::vector<float> a = random_input(5, 1), b = random_input(9, 2);
    std::vector<float> callers(9 * 16);
    const auto both = [&] {
      const int64_t five[] = {5, 16}, nine[] = {9, 16};
      e.set_output(0, nullptr, 0);
      e.set_input(0, DType::f32, five, a.data());
      e.run();
      e.run();
      e.set_input(0, DType::f32, nine, b.data());
      e.set_output(0, callers.data(), callers.size() * sizeof(float));
      e.run();
    };
    both();
    both();
    const int64_t before = allocations;
    e.run();
    EXPECT_EQ(allocations - before, 0);
    EXPECT_EQ(callers, expected(plan, b, 10));
  }
}

TEST(Executor, EachLevelIsForced) {
  toy::Maker m;
  const int x = m.input("x", DType::f32, {2}), y = m.output("y", DType::f32, {2});
  Step step = m.scale("scale", x, y, 1, 0);
  step.problem.ints["tell"] = 1;
  step.choices = {{{}, "toy_scale_avx512", {}, 0}};  // where it can run; otherwise by heuristic
  m.plan.steps = {step};
  Executor e(std::make_shared<const Plan>(m.plan), {.threads = 1, .kernels = toy::kernels()});
  const float data[] = {1, 2};
  e.set_input(0, DType::f32, Dims{2}, data);
  e.run();
  const float tells[] = {0, 1000, 2000};
  EXPECT_EQ(result(e)[0], 1 + tells[static_cast<int>(this_machine().isa)]);
}

TEST(Executor, ChoicesGoByTheirRanges) {
  toy::Maker m;
  const Expr n = m.symbol("N", 1, 2, 32);
  const int x = m.input("x", DType::f32, {n}), y = m.output("y", DType::f32, {n});
  Step step = m.scale("scale", x, y, 1, 0);
  step.choices = {{{{"N", {1, 4}}}, "toy_scale_baseline", {}, 0},
                  {{{"N", {5, 32}}}, "toy_scale_avx2", {}, 0}};
  m.plan.steps = {step};
  Executor e(std::make_shared<const Plan>(m.plan), {.threads = 1, .kernels = toy::kernels()});
  const std::vector<float> data(32);
  std::string kernel;
  for (const int64_t size : {4, 5}) {
    e.set_input(0, DType::f32, Dims{size}, data.data());
    e.run({.trace = [&](const StepTime& t) { kernel = t.kernel; }});
    EXPECT_EQ(kernel, size == 4 || this_machine().isa < Isa::avx2 ? "toy_scale_baseline"
                                                                  : "toy_scale_avx2");
  }
}

TEST(Executor, HooksReplayOneStep) {
  const Plan plan = chain(2);
  Executor e(std::make_shared<const Plan>(plan), {.threads = 2, .kernels = toy::kernels()});
  const std::vector<float> x = random_input(3, 5);
  e.set_input(0, DType::f32, Dims{3, 16}, x.data());
  // Only the last step, with an input of our own.
  const std::vector<float> injected(48, 4.0f);
  Tensor seen;
  e.run({.select = [](int index, const Step&) { return index == 3; },
         .before =
             [&](int, const Step& s) {
               e.write_value(s.inputs[0], Tensor::of({3, 16}, injected));
             },
         .after = [&](int, const Step& s) { seen = e.read_value(s.outputs[0]); }});
  EXPECT_EQ(seen.dims(), (Dims{3, 16}));
  for (const float v : seen.span<float>()) EXPECT_EQ(v, 9);
  int steps = 0;
  double total = 0;
  e.run({.trace = [&](const StepTime& t) { ++steps, total += t.microseconds; }});
  EXPECT_EQ(steps, 4);
  EXPECT_GT(total, 0);
  EXPECT_THROW(e.read_value(0), Error);
  EXPECT_THROW(e.run({.before =
                          [&](int, const Step&) {
                            e.write_value(0, Tensor::of({3, 16}, injected));
                          }}),
               Error);
  e.run();
  EXPECT_EQ(result(e), expected(plan, x, 2));
}

// Two symbols, one only inside expressions, and a guard.
TEST(Executor, SymbolsAreSolvedAndChecked) {
  toy::Maker m;
  const Expr h = m.symbol("H", 2, 4, 8), w = m.symbol("W", 1, 2, 3);
  const int a = m.input("a", DType::f32, {4 * h + w, h}), b = m.input("b", DType::f32, {h, 2});
  const int y = m.output("y", DType::f32, {h, 2});
  m.plan.guards = {{mod(h, Expr(2)), 0}};
  m.plan.steps = {m.scale("s", b, y, 1, 0)};
  (void)a;
  Executor e(std::make_shared<const Plan>(m.plan), {.threads = 1, .kernels = toy::kernels()});
  const std::vector<float> data(1000);
  const auto message = [&](const Dims& first, const Dims& second) -> std::string {
    try {
      e.set_input(0, DType::f32, first, data.data());
      e.set_input(1, DType::f32, second, data.data());
      e.run();
    } catch (const Error& error) {
      return error.what();
    }
    return fmt::format("H={} W={}", e.symbols().at("H"), e.symbols().at("W"));
  };
  EXPECT_EQ(message({19, 4}, {4, 2}), "H=4 W=3");
  EXPECT_THAT(message({41, 10}, {10, 2}),
              HasSubstr("input 'a' [41,10]: dimension 1 (H) is 10, which makes H = 10; the plan "
                        "allows H from 2 to 8 (best at 4)"));
  EXPECT_THAT(message({19, 4}, {6, 2}),
              HasSubstr("input 'b' [6,2]: dimension 0 (H) is 6, expected 4"));
  EXPECT_THAT(message({20, 4}, {4, 2}),
              HasSubstr("which makes W = 4; the plan allows W from 1 to 3"));
  EXPECT_THAT(message({14, 3}, {3, 2}), HasSubstr("must be equal (at H=3, W=2)"));
  EXPECT_THAT(message({19, 4}, {4, 3}), HasSubstr("dimension 1 (2) is 3, expected 2"));
  EXPECT_EQ(message({19, 4}, {4, 2}), "H=4 W=3");
  EXPECT_THAT(message({19}, {4, 2}), HasSubstr("expected 2 dimensions"));
  EXPECT_THROW(e.set_input(0, DType::i32, Dims{19, 4}, data.data()), Error);
  EXPECT_THROW(e.set_input(0, DType::f32, Dims{19, -4}, data.data()), Error);
  EXPECT_THROW(
      e.set_input(0, DType::f32, Dims{19, 4}, reinterpret_cast<const char*>(data.data()) + 1),
      Error);
}

class SessionTest : public testing::Test {
 protected:
  SessionTest() {
    // Kernels of the build, unlike the toys', are what a public session runs.
    toy::Maker m;
    const Expr n = m.symbol("N", 1, 2, 4);
    const int x = m.input("x", DType::f32, {n, 3}), y = m.output("y", DType::f32, {n, 3}),
              same = m.output("same", DType::f32, {n, 3});
    m.plan.steps = {toy::Maker::host("Neg", {x}, {y})};
    m.plan.buffers[m.plan.values[same].buffer] = {.kind = PlanBuffer::Kind::arena, .bytes = 1};
    m.plan.values[same] = m.plan.values[x];  // an output that is the input itself
    m.plan.metadata["task"] = "negate";
    save_plan(path_, m.plan);
  }
  ~SessionTest() override { std::filesystem::remove(path_); }
  const std::string path_ = testing::TempDir() + "session_test_" +
                            testing::UnitTest::GetInstance()->current_test_info()->name() +
                            ".vitrail";
};

TEST_F(SessionTest, LoadsBindsAndRuns) {
  const LoadedPlan plan = LoadedPlan::load(path_);
  ASSERT_EQ(plan.inputs().size(), 1u);
  EXPECT_THAT(plan.inputs()[0].dims, ElementsAre("N", "3"));
  EXPECT_THAT(plan.inputs()[0].max, ElementsAre(4, 3));
  EXPECT_EQ(plan.metadata().at("task"), "negate");
  Session session(plan, {.threads = 2, .poison = true});
  const float x[] = {1, 2, 3, 4, 5, 6};
  EXPECT_THROW(session.run(), Error);  // no input yet
  EXPECT_THROW(session.output("y"), Error);
  EXPECT_THROW(session.set_input("z", DType::f32, {2, 3}, x), Error);
  session.set_input("x", DType::f32, {2, 3}, nullptr);
  session.bind();
  EXPECT_THROW(session.run(), Error);
  session.set_input("x", DType::f32, {2, 3}, x);
  int steps = 0;
  session.set_trace([&](const StepReport& r) {
    EXPECT_EQ(r.step, "Neg");
    EXPECT_EQ(r.kernel, "reference");
    ++steps;
  });
  session.run();
  session.set_trace({});
  session.run();
  EXPECT_EQ(steps, 1);
  const TensorView y = session.output("y");
  EXPECT_THAT(y.dims, ElementsAre(2, 3));
  EXPECT_EQ(y.bytes, sizeof x);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(static_cast<const float*>(y.data)[i], -x[i]);
  for (int i = 0; i < 6; ++i)
    EXPECT_EQ(static_cast<const float*>(session.output("same").data)[i], x[i]);
  EXPECT_NE(session.output("same").data, x);

  float mine[6];
  session.set_output("y", mine, 20);
  EXPECT_THROW(session.run(), Error);
  session.set_output("y", mine, sizeof mine);
  session.run();
  EXPECT_EQ(session.output("y").data, mine);
  EXPECT_EQ(mine[5], -6);
  EXPECT_THROW(Session(plan, {.threads = -1}), Error);
  EXPECT_THROW(Session(plan, {.threads = 1'000'000}), Error);
  EXPECT_THROW(LoadedPlan::load(path_, {.target = "cuda:sm90"}), Error);
  EXPECT_THROW(LoadedPlan::load(path_ + ".missing"), Error);
}

TEST(Sessions, ManyThreadsShareAPlan) {
  const auto plan = std::make_shared<const Plan>(chain(4));
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 6; ++t)
    threads.emplace_back([&, t] {
      for (int life = 0; life < 3; ++life) {
        Executor e(plan, {.threads = 1 + static_cast<int>(t) % 4, .kernels = toy::kernels()});
        for (unsigned round = 0; round < 10; ++round) {
          const int64_t rows = 1 + (t + round) % 20;
          const std::vector<float> x = random_input(rows, t * 100 + round);
          e.set_input(0, DType::f32, Dims{rows, 16}, x.data());
          e.run();
          if (result(e) != expected(*plan, x, 4)) ++wrong;
        }
      }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Sessions, ARunInTwoPartsKeepsItsOutputsToItself) {
  const auto plan = std::make_shared<const Plan>(chain(3));
  Executor e(plan, {.threads = 2, .kernels = toy::kernels()});
  e.finish();  // nothing is under way
  Tensor in = e.host_tensor(DType::f32, {4, 16}), out = e.host_tensor(DType::f32, {4, 16});
  const std::vector<float> x = random_input(4, 1), next = random_input(7, 2);
  std::copy(x.begin(), x.end(), in.mutable_data<float>());
  e.set_input(0, in);
  e.set_output(0, out.mutable_raw(), out.bytes());
  e.start();
  e.set_input(0, DType::f32, Dims{7, 16}, next.data());  // for the run after this one
  const std::function<void()> refused[] = {[&] { e.start(); }, [&] { e.bind(); }, [&] { e.run(); },
                                           [&] { e.set_output(0, nullptr, 0); }};
  for (const auto& call : refused) {
    try {
      call();
      ADD_FAILURE() << "taken while a run is under way";
    } catch (const Error& error) {
      EXPECT_EQ(error.code, Code::usage);
      EXPECT_THAT(error.what(), HasSubstr("wait()"));
    }
  }
  e.finish();
  EXPECT_EQ(std::vector<float>(out.span<float>().begin(), out.span<float>().end()),
            expected(*plan, x, 3));
  e.set_output(0, nullptr, 0);
  e.run();
  EXPECT_EQ(result(e), expected(*plan, next, 3));
  EXPECT_THROW(e.host_tensor(DType::f64, {int64_t{1} << 62, 4}), Error);
  EXPECT_THROW(e.host_tensor(DType::f64, {int64_t{1} << 61}), Error);
}

TEST(Sessions, OneSessionInTwoThreadsIsRefused) {
  Executor e(std::make_shared<const Plan>(chain(1)), {.threads = 1, .kernels = toy::kernels()});
  const std::vector<float> x = random_input(1, 1);
  e.set_input(0, DType::f32, Dims{1, 16}, x.data());
  std::string message;
  e.run({.before = [&](int index, const Step&) {
    if (index != 0) return;
    std::thread([&] {
      try {
        e.run();
      } catch (const Error& error) {
        message = error.what();
      }
    }).join();
  }});
  EXPECT_THAT(message, HasSubstr("open one session for each"));
}

}  // namespace
}  // namespace vitrail
