// SPDX-License-Identifier: Apache-2.0
#include "compile/rounded.h"

#include <gtest/gtest.h>

#include <cmath>

#include "compile/compile.h"
#include "compile/storage.h"
#include "compile/verify.h"
#include "ir/text.h"
#include "oracle/oracle.h"
#include "passes/pipeline.h"

namespace vitrail {
namespace {

// x w, then relu in the same step; then plus 1.
ir::Graph model() {
  ir::Graph g;
  const auto x = g.add_input("x", DType::f32, {4, 8});
  std::vector<float> w(64);
  for (size_t i = 0; i < w.size(); ++i) w[i] = 1.0f / static_cast<float>(i + 3) - 0.1f;
  const auto product = g.op("MatMul", {x, g.add_constant("w", Tensor::of({8, 8}, w))});
  const auto soft = g.op("Softmax", {g.op("Relu", {product})});
  g.outputs = {g.op("MatMul", {soft, g.add_constant("w2", Tensor::of({8, 8}, w))})};
  return g;
}
Tensor input() {
  std::vector<float> x(32);
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i));
  return Tensor::of({4, 8}, x);
}

// By hand: inputs, weights and what lies between the steps, nothing inside them, not the output.
TEST(Rounded, RoundsWhatAPlanStores) {
  ir::Graph g = model();
  for (const Rounding r : {Rounding::f16, Rounding::bf16, Rounding::tf32}) {
    const auto got = run_rounded(g, {input()}, r);
    ir::Graph fused = g.clone();
    passes::run(fused);
    std::map<uint32_t, Tensor> values;
    values[fused.inputs[0].index] = rounded(input(), r);
    for (ir::NodeId id : fused.topological_order()) {
      const ir::Node& node = fused.node(id);
      ASSERT_TRUE(node.is_fusion());
      std::vector<Tensor> in;
      for (ir::ValueId v : node.inputs)
        in.push_back(fused.value(v).is_constant() ? rounded(fused.value(v).constant, r)
                                                  : values.at(v.index));
      const Tensor out = oracle::run(*node.bodies[0], in)[0];
      values[node.outputs[0].index] = fused.is_output(node.outputs[0]) ? out : rounded(out, r);
    }
    EXPECT_TRUE(got[0].same(values.at(fused.outputs[0].index))) << name_of(r);
    EXPECT_FALSE(got[0].same(oracle::run(g, {input()})[0])) << name_of(r);
    EXPECT_TRUE(oracle::run(g, {input()})[0].same(run_rounded(g, {input()}, Rounding::none)[0]));
  }
}

// A plan in float32 whose weights are off by two thousandths: far within the limit of its largest
// error in float16, far beyond what rounding makes of it.
TEST(Rounded, VerificationJudgesByIt) {
  const ir::Graph g = model();
  BuildOptions options;
  options.verify = VerifyLevel::off;
  options.tune = false;
  BuildReport report;
  const Plan plan = build_plan(g, options, report);
  options.verify = VerifyLevel::fast;
  const auto verified = [&](Plan tried, DType storage) {
    options.storage = storage;
    report = {};
    References references(g);
    const bool ok = !verify_plan(g, tried, options, {}, references, report);
    EXPECT_EQ(report.verification.at(0).ok, ok);
    EXPECT_EQ(report.verification[0].rounded_l2 > 0, storage != DType::f32);
    return ok;
  };
  Plan off = plan;
  for (Tensor& t : off.constants) {
    if (t.dtype() != DType::f32) continue;
    Tensor scaled(DType::f32, t.dims());
    for (int64_t i = 0; i < t.size(); ++i)
      scaled.mutable_data<float>()[i] = 1.002f * t.data<float>()[i];
    t = scaled;
  }
  EXPECT_TRUE(verified(plan, DType::f32));
  EXPECT_TRUE(verified(plan, DType::f16));
  EXPECT_FALSE(verified(off, DType::f16));
  EXPECT_GT(report.verification[0].relative_l2, 1.5 * report.verification[0].rounded_l2);
  EXPECT_LT(report.verification[0].abs_max, tolerance(Tensor::scalar(1.0f), options, 1));
  EXPECT_TRUE(verified(off, DType::bf16));
}

TEST(Rounded, ErrorsMayScatterInFewElements) {
  BuildOptions options;
  options.storage = DType::f16;
  EXPECT_DOUBLE_EQ(error_allowed(1e-2, 900, options), 1.5e-2 * 1.1);
  EXPECT_DOUBLE_EQ(error_allowed(1e-9, 900, options), 0x1p-11);
}

TEST(Rounded, ControlFlowHasNoYardstick) {
  const ir::Graph g = ir::parse(R"(graph "t" (x: f32[N,2]) -> (last) {
  symbol N input 1..
  const three: i64[] = {3}
  const yes: bool[] = {1}
  last: f32[N,2] = Loop(three, yes, x) {carried: 1} @"loop" body (i: i64[], go: bool[], c: f32[N,2]) -> (go, c2) {
    symbol N input 1..
    c2: f32[N,2] = Neg(c) @"neg"
  }
})");
  EXPECT_FALSE(has_yardstick(g));
  EXPECT_THROW(run_rounded(g, {Tensor::of<float>({1, 2}, {1, 2})}, Rounding::f16), Error);
  EXPECT_THROW(narrow_values(g, {DType::f32, DType::f16, DType::f32}), Error);
  std::string why;
  EXPECT_TRUE(narrow_values(g, {DType::f16, DType::f32, DType::f32}, &why).empty());
  EXPECT_NE(why.find("control flow"), std::string::npos);
}

// Inputs and outputs have the types asked for, what a view ties to them as well; the rest follows
// the storage type.
TEST(Storage, InputsAndOutputsHaveTheirOwnTypes) {
  ir::Graph g = model();
  g.outputs.push_back(g.op("Transpose", {g.inputs[0]}));
  passes::run(g);
  for (const DType values : {DType::f32, DType::f16, DType::bf16}) {
    std::vector<std::string> account;
    const auto changes = set_storage(g, {values, DType::f16, DType::f16}, account);
    EXPECT_EQ(g.value(g.inputs[0]).dtype, DType::f16);
    for (ir::ValueId v : g.outputs) EXPECT_EQ(g.value(v).dtype, DType::f16);
    for (ir::NodeId id : g.topological_order())
      for (ir::ValueId v : g.node(id).outputs)
        if (!g.is_output(v) && g.node(id).is_fusion()) {
          EXPECT_EQ(g.value(v).dtype, values) << g.value(v).name;
        }
    restore_storage(g, changes);
    for (uint32_t v = 0; v < g.value_count(); ++v) EXPECT_EQ(g.value({v}).dtype, DType::f32);
  }
}

TEST(Storage, AnOutputThatIsAnInputCannotHaveAnotherType) {
  ir::Graph g;
  const auto x = g.add_input("x", DType::f32, {2, 3});
  g.outputs = {g.op("Transpose", {x})};
  EXPECT_THROW(narrow_values(g, {DType::f32, DType::f16, DType::f32}), Error);
  EXPECT_EQ(narrow_values(g, {DType::f32, DType::f16, DType::f16}).size(), 2u);
}

}  // namespace
}  // namespace vitrail
