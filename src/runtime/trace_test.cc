// SPDX-License-Identifier: Apache-2.0
#include "runtime/trace.h"

#include <gtest/gtest.h>

#include "runtime/cpu_speed.h"
#include "runtime/toy.h"

namespace vitrail {
namespace {

TEST(Trace, SpreadsAreMedianAndQuartiles) {
  const Spread s = spread_of({5, 1, 4, 2, 3});
  EXPECT_DOUBLE_EQ(s.median, 3);
  EXPECT_DOUBLE_EQ(s.low, 2);
  EXPECT_DOUBLE_EQ(s.high, 4);
  EXPECT_DOUBLE_EQ(spread_of({1, 2}).median, 1.5);
  EXPECT_DOUBLE_EQ(spread_of({}).median, 0);
}

TEST(Trace, SharedPaths) {
  EXPECT_EQ(shared_path({"stage0.blocks.0.attn.proj", "stage0.blocks.0/add1"}, 5),
            "stage0.blocks.0");
  EXPECT_EQ(shared_path({"/stage0/blocks.0/mlp/fc1/MatMul", "/stage0/blocks.0/mlp/act/Mul"}, 4),
            "stage0.blocks.0.mlp");
  EXPECT_EQ(shared_path({"stage0.blocks.0.attn.proj"}, 2), "stage0.blocks");
  // Names without a path count only when there is nothing else.
  EXPECT_EQ(shared_path({"Gemm_10", "Transpose.8", "/stage0/mlp/act/Mul"}, 2), "stage0.mlp");
  EXPECT_EQ(shared_path({"Gemm_10"}, 2), "Gemm_10");
  EXPECT_EQ(shared_path({"Gemm_10", "Add_3"}, 2), "");
  EXPECT_EQ(shared_path({"a.b", "c.d"}, 2), "");
  EXPECT_EQ(shared_path({}, 2), "");
}

TracedStep step(const char* source, double us) {
  TracedStep out;
  out.sources = {source};
  out.kind = "launch";
  out.calls = out.launches = 1;
  out.microseconds = {us, us, us};
  return out;
}

TEST(Trace, ModulesAddUp) {
  Trace trace;
  trace.steps = {step("a.b.c", 3), step("a.b.d", 4), step("a.e", 5)};
  for (TracedStep& s : trace.steps) s.share = s.microseconds.median / 12;
  const auto modules = by_module(trace, 2);
  ASSERT_EQ(modules.size(), 2U);
  EXPECT_EQ(modules[0].module, "a.b");
  EXPECT_EQ(modules[0].steps, 2);
  EXPECT_DOUBLE_EQ(modules[0].microseconds, 7);
  EXPECT_DOUBLE_EQ(modules[1].share, 5.0 / 12);
}

// 100 GB/s are 100 bytes a nanosecond, 1e5 bytes a microsecond.
TEST(Trace, RooflinesNameWhatBindsAStep) {
  const MachineSpeed machine{"m", 100, 400, 1e6, 2, {{"vector", 10}, {"float16", 1000}}};
  Trace trace;
  const auto add = [&](double us, double bytes, double flop, const char* units) -> TracedStep& {
    TracedStep& s = trace.steps.emplace_back(step("s", us));
    s.read_bytes = bytes;
    s.flop = flop;
    s.units = units;
    return s;
  };
  add(80, 4e6, 0, "vector");      // 40 us from memory
  add(10, 4e5, 0, "vector");      // in the cache: 1 us; a launch is 2
  add(50, 2e5, 2e7, "float16");   // 20 us of products
  add(50, 0, 2e5, "vector");      // 20 us by vectors
  add(100, 1e5, 1e6, "float16");  // nothing explains it
  add(4, 0, 0, "float16").launches = 2;
  add(160, 8e6, 0, "vector").calls = 20;  // 4e5 bytes a call: the cache's 20 us, launches 40
  trace.steps.push_back(TracedStep{.kind = "host", .calls = 1});
  hold_against(trace, machine);
  const auto expect = [&](size_t i, const char* bound, double floor, double roofline) {
    EXPECT_EQ(trace.steps[i].bound, bound) << i;
    EXPECT_NEAR(trace.steps[i].floor, floor, 1e-9) << i;
    EXPECT_NEAR(trace.steps[i].roofline, roofline, 1e-9) << i;
  };
  expect(0, "memory", 40, 0.5);
  expect(1, "latency", 2, 0.1);
  EXPECT_EQ(trace.steps[1].ceiling, "launch");
  expect(2, "compute", 20, 0.4);
  expect(3, "compute", 20, 0.4);
  expect(4, "latency", 2, 0.01);
  expect(5, "launch", 4, 0);
  expect(6, "launch", 40, 0.125);
  expect(7, "", 0, 0);
}

// y = 2x + 1 three times over in a loop, then an If whose other branch is not taken.
TEST(Trace, CountsWhatRunsInsideBranchesAndLoops) {
  toy::Maker m;
  const int x = m.input("x", DType::f32, {4, 8}), flag = m.input("flag", DType::boolean, {});
  const int y = m.output("y", DType::f32, {4, 8});
  const int looped = m.temporary("looped", DType::f32, {4, 8}),
            state = m.temporary("state", DType::f32, {4, 8}),
            next = m.temporary("next", DType::f32, {4, 8}),
            yes = m.temporary("yes", DType::f32, {4, 8}),
            no = m.temporary("no", DType::f32, {4, 8});
  const int three = m.constant("three", Tensor::scalar(int64_t{3}));
  Step loop{
      .kind = Step::Kind::loop, .name = "rounds", .inputs = {three, -1, x}, .outputs = {looped}};
  Step body = m.scale("body", state, next, 2, 1);
  body.sources = {"layers.0.scale"};
  loop.blocks = {{body}};
  loop.block_inputs = {{-1, -1, state}};
  loop.block_outputs = {{-1, next}};
  Step branch{.kind = Step::Kind::branch, .name = "choice", .inputs = {flag}, .outputs = {y}};
  branch.blocks = {{m.scale("then", looped, yes, 1, 0)}, {toy::Maker::host("Neg", {looped}, {no})}};
  branch.block_outputs = {{yes}, {no}};
  m.plan.steps = {loop, branch};
  for (PlanBuffer& b : m.plan.buffers)
    if (b.kind == PlanBuffer::Kind::arena) b.last = 4;
  Executor e(std::make_shared<const Plan>(m.plan), {.threads = 2, .kernels = toy::kernels()});
  const std::vector<float> data(32, 1.0F);
  const bool on = true;
  e.set_input(0, DType::f32, Dims{4, 8}, data.data());
  e.set_input(1, DType::boolean, {}, &on);

  const Trace trace = trace_runs(e, {.iterations = 3, .seconds = 0, .warmup_ms = 0});
  EXPECT_EQ(trace.runs, 3);
  EXPECT_EQ(trace.inputs.at("x"), (Dims{4, 8}));
  ASSERT_EQ(trace.steps.size(), 5U);
  const TracedStep &rounds = trace.steps[0], &inside = trace.steps[1], &then = trace.steps[3],
                   &other = trace.steps[4];
  EXPECT_EQ(rounds.kind, "loop");
  EXPECT_EQ(rounds.calls, 1);
  EXPECT_EQ(inside.path, "loop 'rounds'/");
  EXPECT_EQ(inside.calls, 3);
  EXPECT_EQ(inside.sources, std::vector<std::string>{"layers.0.scale"});
  EXPECT_DOUBLE_EQ(inside.read_bytes, 3 * 32 * 4);  // of all rounds
  EXPECT_EQ(then.path, "if 'choice'/");
  EXPECT_EQ(then.calls, 1);
  EXPECT_EQ(other.path, "unless 'choice'/");
  EXPECT_EQ(other.calls, 0);
  EXPECT_GT(inside.microseconds.median, 0);
  double sum = 0;
  for (const TracedStep& s : trace.steps) sum += s.microseconds.median;
  EXPECT_DOUBLE_EQ(sum, trace.steps_sum);
  // Nothing is counted twice: the loop's own time leaves out its body's.
  EXPECT_LE(trace.steps_sum, 1.5 * trace.traced_run.high + 50);
  double last = 0;
  for (const TracedCall& call : trace.calls) {
    EXPECT_GE(call.start, last);
    last = call.start;
  }
  EXPECT_EQ(trace.calls.size(), 6U);
  // Four rows are four tasks, whoever took them.
  int64_t tasks = 0;
  for (const TracedWorker& w : then.workers) {
    tasks += w.tasks;
    EXPECT_LE(w.start, w.end);
    EXPECT_LE(w.busy, w.end - w.start + 1e-6);
  }
  EXPECT_EQ(tasks, 4);
  EXPECT_FALSE(trace.chained);
}

TEST(Trace, AMachineHasRates) {
  const MachineSpeed speed = measure_cpu(1);
  EXPECT_GT(speed.memory_gbs, 0);
  EXPECT_GE(speed.cache_gbs, speed.memory_gbs);
  EXPECT_GT(speed.gflops.at("float32"), 0.1);
  EXPECT_GE(speed.launch_us, 0);
}

}  // namespace
}  // namespace vitrail
