// SPDX-License-Identifier: Apache-2.0
// Which kernels and tactics plans for GPUs get; no device is needed.
#include "compile/gpu_plan.h"
#include "compile/host_account.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "compile/compile.h"
#include "compile/joint_code.h"
#include "ir/text.h"
#include "passes/pipeline.h"

namespace vitrail {
namespace {

// A large product, whose tiles depend on the batch, between products of two values.
constexpr const char* kModel = R"(graph "small" (x: f32[N,48,256], w: f32[256,512]) -> (y) {
  symbol N input 1..64
  m: f32[N,48,512] = MatMul(x, w) @"product"
  r: f32[N,48,512] = Relu(m) @"act"
  s: f32[N,48,512] = Softmax(r) {axis: -1} @"soft"
  t: f32[N,512,48] = Transpose(s) {perm: i[0, 2, 1]} @"turn"
  y: f32[N,48,48] = MatMul(r, t) @"back"
})";

class GpuPlan : public testing::Test {
 protected:
  GpuPlan() {
    options_.shapes["x"] = {{1, 48, 256}, {2, 48, 256}, {64, 48, 256}};
    options_.device = "cuda";
    options_.architecture = "sm_90";
    options_.storage = DType::f16;
  }
  Plan make(const char* model = kModel) { return make(ir::parse(model)); }
  Plan make(ir::Graph graph) {
    const auto target = gpu_target(options_);
    const Bindings opt = apply_shapes(graph, options_.shapes);
    graph.infer_all();
    passes::run(graph, {.disabled = options_.disabled_passes, .observe = {}, .gpu = true});
    account_.clear();
    Plan plan = make_plan(graph, opt, options_, kernels_, account_, &*target);
    choose_gpu_kernels(plan, *target, kernels_);
    return plan;
  }
  static const Step& step_of(const Plan& plan, std::string_view family) {
    for (const Step& s : plan.steps)
      if (s.problem.family == family) return s;
    throw std::out_of_range("no such step");
  }
  BuildOptions options_;
  KernelSet kernels_;
  std::vector<std::string> account_;
};

// 31 channels lie in 32, and the last of them is free to overwrite.
TEST_F(GpuPlan, RowsAreWholeSixteenBytes) {
  const Plan plan = make(R"(graph "rows" (x: f32[N,48,256], w: f32[256,31], v: f32[31,40]) -> (y) {
    symbol N input 1..64
    m: f32[N,48,31] = MatMul(x, w) @"product"
    r: f32[N,48,31] = Relu(m) @"act"
    y: f32[N,48,40] = MatMul(r, v) @"back"
  })");
  const Problem& product = step_of(plan, "gemm").problem;
  EXPECT_EQ(to_string(product.outputs[0].strides), "[1536,32,1]");
  EXPECT_EQ(product.integer("spare_out0", 0), 1);
  EXPECT_EQ(product.integer("align_out0", 0), 16);
}

TEST_F(GpuPlan, TilesFollowTheRange) {
  const Plan plan = make();
  EXPECT_EQ(plan.target, "cuda:sm_90a");
  const Step& product = step_of(plan, "gemm");
  ASSERT_GT(product.choices.size(), 1u);
  EXPECT_TRUE(product.choices.back().when.empty());
  EXPECT_EQ(product.choices.front().when.count("N"), 1u);
  EXPECT_NE(product.choices.front().tactic, product.choices.back().tactic);
}

// LayerNormalization, MatMul, Add(bias), Relu on `rows` of 384.
ir::Graph normalized(int64_t rows) {
  ir::Graph g;
  const auto drawn = [&](const char* name, const Dims& dims) {
    Tensor t(DType::f32, dims);
    for (int64_t i = 0; i < t.size(); ++i)
      t.mutable_data<float>()[i] = static_cast<float>(i % 13 - 5) / 16;
    return g.add_constant(name, t);
  };
  const auto x = g.add_input("x", DType::f32, {1, rows, 384});
  const auto n =
      g.op("LayerNormalization", {x, drawn("scale", {384}), drawn("shift", {384})}, {{"axis", -1}});
  const auto m = g.op("MatMul", {n, drawn("w", {384, 768})});
  g.outputs = {g.op("Relu", {g.op("Add", {m, drawn("bias", {768})})})};
  return g;
}

TEST_F(GpuPlan, ALayerNormIsThePrologueOfItsProductWhereThatPays) {
  options_.shapes.clear();
  options_.input_type = options_.output_type = DType::f16;
  const auto families = [](const Plan& plan) {
    std::string out;
    for (const Step& s : plan.steps) out += s.problem.family + " ";
    return out;
  };
  const Plan plan = make(normalized(197));
  ASSERT_EQ(families(plan), "gemm ");
  const Step& step = plan.steps[0];
  EXPECT_EQ(step.choices.at(0).kernel, "gemm_cuda_norm");
  ASSERT_EQ(step.problem.inputs.size(), 4u);  // x, weight, shift, bias
  EXPECT_EQ(step.problem.inputs[1].dtype, DType::f16);
  EXPECT_EQ(step.problem.inputs[2].dtype, DType::f32);
  EXPECT_EQ(step.problem.inputs[3].dtype, DType::f16);
  const auto constant = [&](size_t input) -> const Tensor& {
    const PlanValue& v = plan.values[static_cast<size_t>(step.inputs[input])];
    return plan
        .constants[static_cast<size_t>(plan.buffers[static_cast<size_t>(v.buffer)].constant)];
  };
  double sum = 0;  // of shift times the matrix's fourth column
  for (int64_t l = 0; l < 384; ++l)
    sum += static_cast<double>(l % 13 - 5) / 16 * static_cast<double>((l * 768 + 3) % 13 - 5) / 16;
  EXPECT_FLOAT_EQ(constant(2).data<float>()[3], static_cast<float>(sum));

  EXPECT_EQ(families(make(normalized(6304))), "layernorm gemm ");  // many blocks of columns again
  ASSERT_EQ(account_.size(), 1u);
  EXPECT_NE(account_[0].find("every block of columns would normalize"), std::string::npos)
      << account_[0];

  kernels_.off.insert("gemm_cuda_norm");
  EXPECT_EQ(families(make(normalized(197))), "layernorm gemm ");
  kernels_.off.clear();
  options_.disabled_passes = {"fuse_norm_product"};
  EXPECT_EQ(families(make(normalized(197))), "layernorm gemm ");
}

TEST_F(GpuPlan, DeterministicPlansHaveOneTileForAllBatches) {
  options_.deterministic = true;
  for (const Step& s : make().steps) EXPECT_EQ(s.choices.size(), 1u) << s.name;
}

TEST_F(GpuPlan, AKernelSwitchedOffGivesWayToTheNext) {
  const std::string first = step_of(make(), "gemm").choices.back().kernel;
  kernels_.off.insert(first);
  const Plan plan = make();
  EXPECT_NE(step_of(plan, "gemm").choices.back().kernel, first);
  std::string why;
  EXPECT_NE(first_gpu_kernel(step_of(plan, "gemm").problem, typical_gpu(90), kernels_, &why),
            nullptr);
  EXPECT_NE(why.find(first + ": it failed the verification"), std::string::npos) << why;
}

TEST_F(GpuPlan, WithoutTheDeviceNoLibraryIsCalledAndTheAccountSaysWhy) {
  const Plan plan = make();
  const auto target = gpu_target(options_);
  const GpuKernel& row = *find_gpu_kernel("gemm_cublaslt");
  EXPECT_NE(row.accepts(step_of(plan, "gemm").problem, target->machine).find("not here"),
            std::string::npos);
  EXPECT_NE(account_of_libraries(plan, *target).find("calls no library, as algorithms"),
            std::string::npos);
}

TEST_F(GpuPlan, CallsOfLibrariesNeedNoMachineCodeAndAreTold) {
  Plan plan = make();
  auto target = gpu_target(options_);
  target->machine.cublas_lt = {130100, ""};
  CodeCompiler compiler(target->machine.architecture(), {});
  std::erase_if(plan.steps, [](const Step& s) {
    return s.problem.family != "gemm" || s.problem.inputs[0].dtype != DType::f16;
  });
  ASSERT_EQ(plan.steps.size(), 1u);
  plan.steps[0].choices = {{.when = {}, .kernel = "gemm_cublaslt", .tactic = {{"algo", 66}}}};
  add_gpu_code(plan, *target, kernels_, compiler);
  EXPECT_EQ(plan.steps[0].choices[0].module, -1);
  EXPECT_TRUE(plan.modules.empty());
  ASSERT_EQ(plan.steps[0].choices[0].launches.size(), 1u);
  EXPECT_EQ(account_of_libraries(plan, *target),
            "calls cuBLASLt 13.1.0 in 1 step: the plan needs it where it runs");
}

TEST_F(GpuPlan, StepsOnTheProcessorAreToldWithTheirCost) {
  EXPECT_TRUE(account_of_host_steps(make()).empty());
  for (const GpuKernel* kernel : all_gpu_kernels())
    if (std::string_view(kernel->family) == "softmax") kernels_.off.insert(kernel->name);
  const std::vector<std::string> lines = account_of_host_steps(make());
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_NE(lines[0].find("no GPU kernel: 1 step of Softmax ('soft') runs on the processor, 192.0 "
                          "KiB copied and "),
            std::string::npos)
      << lines[0];
  EXPECT_NE(lines[0].find("ms of work at opt"), std::string::npos) << lines[0];
  const std::string untimed = account_of_host_steps(make(), false).at(0);
  EXPECT_EQ(untimed, account_of_host_steps(make(), false).at(0));
  EXPECT_EQ(untimed.find(" ms "), std::string::npos) << untimed;
}

TEST_F(GpuPlan, AFamilyWithoutASoundKernelIsLeftToTheReferences) {
  for (const GpuKernel* kernel : all_gpu_kernels())
    if (std::string_view(kernel->family) == "softmax") kernels_.off.insert(kernel->name);
  const Plan plan = make();
  EXPECT_TRUE(std::any_of(plan.steps.begin(), plan.steps.end(), [](const Step& s) {
    return s.kind == Step::Kind::host && s.op == "Softmax";
  }));
  ASSERT_FALSE(account_.empty());
  EXPECT_NE(account_[0].find("it failed the verification"), std::string::npos) << account_[0];
}

// Two products of one value, with a step between them that the second does not need.
constexpr const char* kTwins =
    R"(graph "twins" (x: f32[N,49,64], u: f32[64,64], v: f32[64,64]) -> (a, b) {
  symbol N input 1..64
  n: f32[N,49,64] = Softmax(x) {axis: -1} @"soft"
  p: f32[N,49,64] = MatMul(n, u) @"left"
  a: f32[N,49,64] = Softmax(p) {axis: -1} @"after"
  b: f32[N,49,64] = MatMul(n, v) @"right"
})";

class JointLaunches : public GpuPlan {
 protected:
  JointLaunches() {
    options_.storage = DType::f32;  // of the weights too, which are inputs here
    options_.shapes = {{"x", {{1, 49, 64}, {2, 49, 64}, {64, 49, 64}}}};
    const auto target = gpu_target(options_);
    ir::Graph graph = ir::parse(kTwins);
    const Bindings opt = apply_shapes(graph, options_.shapes);
    graph.infer_all();
    passes::run(graph, {.disabled = {}, .observe = {}});
    plan_ = make_plan(graph, opt, options_, kernels_, account_, &*target);
    choose_gpu_kernels(plan_, *target, kernels_);
  }
  size_t head() const {
    for (size_t i = 0; i < plan_.steps.size(); ++i)
      if (plan_.steps[i].together > 1) return i;
    return plan_.steps.size();
  }
  void join() {
    add_joint_code(plan_, *gpu_target(options_), kernels_, [&](std::string source) {
      sources_.push_back(std::move(source));
      return static_cast<int>(sources_.size()) - 1;
    });
  }
  Plan plan_;
  std::vector<std::string> sources_;
};

TEST_F(JointLaunches, StepsThatDoNotDependOnEachOtherStandTogether) {
  ASSERT_LT(head() + 1, plan_.steps.size());
  const Step &left = plan_.steps[head()], &right = plan_.steps[head() + 1];
  EXPECT_EQ(left.together, 2);
  EXPECT_EQ(left.problem.family, "gemm");
  EXPECT_EQ(right.problem.family, "gemm");
  EXPECT_EQ(right.together, 1);
  // Nothing that either uses may lie where the other writes.
  for (const auto* list : {&left.inputs, &left.outputs, &right.inputs, &right.outputs})
    for (const int v : *list) {
      const PlanBuffer& b = plan_.buffers[static_cast<size_t>(plan_.values[v].buffer)];
      EXPECT_LE(b.first, static_cast<int>(head())) << plan_.values[v].name;
      EXPECT_GE(b.last, static_cast<int>(head()) + 1) << plan_.values[v].name;
    }
}

TEST_F(JointLaunches, OneLaunchDoesTheWorkOfAll) {
  join();
  const Step& left = plan_.steps[head()];
  ASSERT_FALSE(left.joints.empty());
  for (const JointLaunch& joint : left.joints) {
    ASSERT_EQ(joint.choices.size(), 2u);
    ASSERT_EQ(joint.code.launches.size(), 1u);
    const std::string& source = sources_[static_cast<size_t>(joint.code.module)];
    EXPECT_NE(source.find(" joint("), std::string::npos);
    // Blocks of the left product, then of the right, at any batch.
    const GpuLaunch& launch = joint.code.launches[0];
    const int64_t first = launch.numbers.back().eval({{"N", 3}});
    EXPECT_GT(first, 0);
    EXPECT_GT(launch.grid[0].eval({{"N", 3}}), first);
  }
}

TEST_F(JointLaunches, CanBeSwitchedOff) {
  kernels_.off.insert(kJointKernel);
  join();
  EXPECT_TRUE(plan_.steps[head()].joints.empty());
}

}  // namespace
}  // namespace vitrail
