// SPDX-License-Identifier: Apache-2.0
// Builds with kernels that compute something else.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

#include "base/error.h"
#include "base/log.h"
#include "compile/compile.h"
#include "ir/text.h"
#include "runtime/executor.h"

namespace vitrail {
namespace {

// A product with a ReLU, whose transpose (made by a copy) is the result.
constexpr const char* kModel = R"(graph "small" (x: f32[16,24], w: f32[24,40]) -> (y) {
  m: f32[16,40] = MatMul(x, w) @"product"
  r: f32[16,40] = Relu(m) @"act"
  s: f32[16,40] = Softmax(r) {axis: -1} @"soft"
  p: f32[40,16] = Transpose(s) {perm: i[1, 0]} @"turn"
  q: f32[16,40] = Sigmoid(m) @"other"
  t: f32[40,16] = Transpose(q) {perm: i[1, 0]} @"turn2"
  y: f32[80,16] = Concat(p, t) {axis: 0} @"both"
})";

// The kernels compiled in, some of which write one wrong number and are done: the fastest of all.
class Kernels {
 public:
  template <typename Pick>
  explicit Kernels(Pick broken) {
    for (const CpuKernel* kernel : all_cpu_kernels()) {
      if (!broken(*kernel)) {
        list.push_back(kernel);
        continue;
      }
      copies_.push_back(*kernel);
      CpuKernel& copy = copies_.back();
      copy.bind = [](const BoundProblem&, const Tactic&, const Machine&, int) {
        return Launch{.tasks = 1};
      };
      copy.run = [](const BoundProblem& problem, const Launch&, const KernelArgs& args, int64_t,
                    void*, void*) noexcept {
        if (element_count(problem.outputs[0].dims) > 0)
          *static_cast<float*>(args.outputs[0]) = 0.5f;
      };
      list.push_back(&copy);
    }
  }
  std::vector<const CpuKernel*> list;

 private:
  std::deque<CpuKernel> copies_;
};

class BrokenKernels : public testing::Test {
 protected:
  void SetUp() override {
    set_log_sink([](LogLevel, std::string_view) {});
    options_.budget_seconds = 2;
    options_.threads = 1;
  }
  void TearDown() override { set_log_sink({}); }
  Plan build(const Kernels& kernels) {
    return build_plan(ir::parse(kModel), options_, report_, {.all = kernels.list, .off = {}});
  }
  std::string account() const {
    std::string out;
    for (const std::string& line : report_.lines) out += line + "\n";
    return out;
  }
  static const char* heuristic(std::string_view family) {
    for (const CpuKernel* k : all_cpu_kernels())
      if (k->family == family && k->isa <= this_machine().isa) return k->name;
    return "";
  }
  BuildOptions options_;
  BuildReport report_;
};

TEST_F(BrokenKernels, OneIsSwitchedOffAndNamedAndAnotherTakesItsPlace) {
  const std::string bad = heuristic("gemm");
  for (const bool tune : {false, true}) {
    options_.tune = tune;
    const Plan plan = build(Kernels([&](const CpuKernel& k) { return k.name == bad; }));
    EXPECT_NE(account().find("switched off: kernel '" + bad + "', because step "),
              std::string::npos)
        << account();
    for (const CheckRow& row : report_.verification) EXPECT_TRUE(row.ok);
    ASSERT_FALSE(report_.verification.empty());
    for_each_step(plan.steps, [&](const Step& s) {
      if (s.kind != Step::Kind::launch || s.problem.family != "gemm") return;
      ASSERT_FALSE(s.choices.empty()) << "without a choice the session would run the broken kernel";
      for (const KernelChoice& c : s.choices) EXPECT_NE(c.kernel, bad);
    });
    if (this_machine().isa != Isa::baseline) {
      EXPECT_EQ(report_.kernels.count("gemm"), 1u) << "another level runs the fusion";
    }
  }
}

TEST_F(BrokenKernels, AFamilyWithoutASoundKernelIsLeftToTheReferences) {
  build(Kernels([](const CpuKernel& k) { return std::string_view(k.family) == "softmax"; }));
  EXPECT_EQ(report_.kernels.count("softmax"), 0u);
  EXPECT_EQ(report_.kernels.at("reference Softmax"), 1);
  EXPECT_NE(account().find("every kernel that takes it failed the verification"), std::string::npos)
      << account();
}

TEST_F(BrokenKernels, WithoutAFallbackThereIsNoPlan) {
  try {
    build(Kernels([](const CpuKernel& k) { return std::string_view(k.family) == "copy"; }));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, Code::accuracy) << error.what();
  }
}

TEST_F(BrokenKernels, OneInTheBodyOfALoopIsFound) {
  const std::string bad = heuristic("gemm");
  options_.tune = false;
  const Kernels kernels([&](const CpuKernel& k) { return k.name == bad; });
  build_plan(ir::parse(R"(graph "t" (x: f32[4,2]) -> (y) {
  const trips: i64[] = {3}
  y: f32[4,2] = Loop(trips, _, x) {carried: 1} @"loop" body (i: i64[], go: bool[], c: f32[4,2]) -> (go, c2) {
    const w: f32[2,2] = {0.5, 0.25, 0.125, 1}
    c2: f32[4,2] = MatMul(c, w) @"product"
  }
})"),
             options_, report_, {.all = kernels.list, .off = {}});
  EXPECT_NE(account().find("switched off: kernel '" + bad + "', because step 'loop/body/product'"),
            std::string::npos)
      << account();
}

// A pass that takes one function for another, before those that fuse.
size_t confuse_sigmoid(ir::Graph& graph) {
  size_t changes = 0;
  for (ir::NodeId id : graph.topological_order()) {
    if (!graph.node(id).is("Sigmoid")) continue;
    graph.node(id).op = find_op("", "Tanh");
    ++changes;
  }
  return changes;
}

TEST_F(BrokenKernels, APassAtFaultIsSwitchedOffAndNamed) {
  std::vector<passes::Pass> passes(passes::pipeline().begin(), passes::pipeline().end());
  passes.insert(passes.begin() + 3, {"confuse_sigmoid", confuse_sigmoid});
  const Plan plan = build_plan(ir::parse(kModel), options_, report_, {}, passes);
  EXPECT_NE(account().find("switched off: pass 'confuse_sigmoid', because the graph it leaves does "
                           "not mean what the model means"),
            std::string::npos)
      << account();
  EXPECT_EQ(account().find("switched off: kernel"), std::string::npos) << account();
  ASSERT_FALSE(report_.verification.empty());
  for (const CheckRow& row : report_.verification) EXPECT_TRUE(row.ok);
  EXPECT_FALSE(plan.steps.empty());
}

TEST_F(BrokenKernels, NobodyIsBlamedWhenAllIsWell) {
  build(Kernels([](const CpuKernel&) { return false; }));
  EXPECT_EQ(account().find("switched off"), std::string::npos) << account();
}

}  // namespace
}  // namespace vitrail
