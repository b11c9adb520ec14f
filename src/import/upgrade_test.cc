// SPDX-License-Identifier: Apache-2.0
// Older forms of ops, and ops of other domains, become the newest form with the same meaning.
#include <cmath>

#include "import/onnx_testing.h"
#include "ops/sample.h"

namespace vitrail {
namespace {
using namespace onnx_testing;
using testing::ElementsAre;

std::vector<std::string> ops_of(const ir::Graph& graph) {
  std::vector<std::string> out;
  for (ir::NodeId id : graph.topological_order()) out.push_back(graph.node(id).type());
  return out;
}
// The graph by its ops' references.
std::vector<float> run(const ir::Graph& graph, const std::vector<Tensor>& inputs,
                       size_t output = 0) {
  std::vector<Tensor> values(graph.value_count());
  for (uint32_t i = 0; i < graph.value_count(); ++i) values[i] = graph.value({i}).constant;
  for (size_t i = 0; i < inputs.size(); ++i) values[graph.inputs[i].index] = inputs[i];
  for (ir::NodeId id : graph.topological_order()) {
    const ir::Node& node = graph.node(id);
    std::vector<Tensor> ins;
    for (ir::ValueId in : node.inputs) ins.push_back(in.valid() ? values[in.index] : Tensor());
    const auto outs =
        run_reference(*node.op, node.attrs, ins, static_cast<int>(node.outputs.size()));
    for (size_t i = 0; i < outs.size(); ++i) values[node.outputs[i].index] = outs[i];
  }
  const Tensor t = values[graph.outputs[output].index].cast(DType::f32);
  return {t.span<float>().begin(), t.span<float>().end()};
}
Tensor ramp(const Dims& dims) {
  Tensor t(DType::f32, dims);
  for (int64_t i = 0; i < t.size(); ++i) t.mutable_data<float>()[i] = static_cast<float>(i) / 4 - 1;
  return t;
}

TEST(Upgrade, SoftmaxOverAllAxesFromOneOn) {
  ModelMaker m(11);
  m.input("x", {"n", "3", "4"}).output("y").node("Softmax", {"x"}, {"y"}, "soft");  // axis 1
  const ir::Graph g = m.import();
  EXPECT_EQ(to_string(g.value(g.outputs[0]).shape), "[n,3,4]");
  const Tensor x = ramp({2, 3, 4});
  const auto y = run(g, {x});
  for (size_t row = 0; row < 2; ++row) {
    double sum = 0;
    for (size_t i = 0; i < 12; ++i) sum += std::exp(x.data<float>()[row * 12 + i]);
    for (size_t i = 0; i < 12; ++i)
      EXPECT_NEAR(y[row * 12 + i], std::exp(x.data<float>()[row * 12 + i]) / sum, 1e-6);
  }
}

TEST(Upgrade, SoftmaxOnTheLastAxisStaysOneNode) {
  for (const char* last : {"4", "1"}) {
    ModelMaker m(11);
    m.input("x", {"n", "3", last}).output("y");
    set(m.node("Softmax", {"x"}, {"y"}), "axis", int64_t{last[0] == '1' ? 1 : 2});
    EXPECT_THAT(ops_of(m.import()), ElementsAre("Softmax"));
  }
}

TEST(Upgrade, AttributesBecomeInputs) {
  ModelMaker m(9);
  m.input("x", {"1", "3", "4"}).output("y");
  set(m.node("Squeeze", {"x"}, {"a"}), "axes", std::vector<int64_t>{0});
  auto& slice = m.node("Slice", {"a"}, {"b"});
  set(slice, "starts", std::vector<int64_t>{1});
  set(slice, "ends", std::vector<int64_t>{3});
  set(slice, "axes", std::vector<int64_t>{1});
  auto& clip = m.node("Clip", {"b"}, {"c"});
  set(clip, "max", 0.5f);
  auto& pad = m.node("Pad", {"c"}, {"d"});
  set(pad, "pads", std::vector<int64_t>{0, 1, 0, 0});
  set(pad, "value", 7.0f);
  auto& mean = m.node("ReduceMean", {"d"}, {"y"});
  set(mean, "axes", std::vector<int64_t>{0});
  set(mean, "keepdims", int64_t{0});
  const ir::Graph g = m.import();
  EXPECT_THAT(run(g, {ramp({1, 3, 4})}),
              ElementsAre(7.f, testing::FloatNear((-0.75f + 0.25f + 0.5f) / 3, 1e-6f),
                          testing::FloatNear((-0.5f + 0.5f + 0.5f) / 3, 1e-6f)));
}

TEST(Upgrade, SplitsEvenlyOrBySizes) {
  ModelMaker m(11);
  m.input("x", {"6"}).output("a").output("d");
  m.node("Split", {"x"}, {"a", "b", "c"});
  set(m.node("Split", {"x"}, {"d", "e"}), "split", std::vector<int64_t>{5, 1});
  const ir::Graph g = m.import();
  EXPECT_EQ(to_string(g.value(g.outputs[0]).shape), "[2]");
  EXPECT_EQ(to_string(g.value(g.outputs[1]).shape), "[5]");
}

TEST(Upgrade, DropoutIsTheIdentity) {
  ModelMaker m(10);
  m.input("x", {"3"}).output("y").output("mask", {}, 9);
  set(m.node("Dropout", {"x"}, {"y", "mask"}), "ratio", 0.5f);
  const ir::Graph g = m.import();
  EXPECT_THAT(run(g, {ramp({3})}), ElementsAre(-1.f, -0.75f, -0.5f));
  EXPECT_THAT(run(g, {ramp({3})}, 1), ElementsAre(1.f, 1.f, 1.f));
  EXPECT_EQ(g.value(g.outputs[1]).name, "mask");
  ModelMaker training(13);
  training.input("x", {"3"}).input("t", {}, 9).output("y").weight("r", {}, {0.5f});
  training.node("Dropout", {"x", "r", "t"}, {"y"}, "drop");
  expect_error(Code::unsupported, {"'drop'", "training"}, [&] { training.import(); });
}

TEST(Upgrade, BatchNormalizationWithOutputsOfTraining) {
  ModelMaker m(9);
  m.input("x", {"1", "2"})
      .output("y")
      .weight("s", {2}, {1, 2})
      .weight("b", {2}, {0, 1})
      .weight("mu", {2}, {0, 0})
      .weight("v", {2}, {1, 1});
  auto& bn =
      m.node("BatchNormalization", {"x", "s", "b", "mu", "v"}, {"y", "m2", "v2", "sm", "sv"}, "bn");
  set(bn, "epsilon", 0.0f);
  EXPECT_THAT(run(m.import(), {ramp({1, 2})}), ElementsAre(-1.f, -0.5f));
  m.output("m2");
  expect_error(Code::unsupported, {"'bn'", "output 1", "training"}, [&] { m.import(); });
}

TEST(Upgrade, GroupNormalizationWithScalesOfGroups) {
  const auto build = [](int64_t opset, const std::vector<float>& scale) {
    ModelMaker m(opset);
    const auto n = static_cast<int64_t>(scale.size());
    m.input("x", {"1", "4", "2"})
        .output("y")
        .weight("s", {n}, scale)
        .weight("b", {n}, std::vector<float>(scale.size(), 1));
    set(m.node("GroupNormalization", {"x", "s", "b"}, {"y"}), "num_groups", int64_t{2});
    return run(m.import(), {ramp({1, 4, 2})});
  };
  EXPECT_EQ(build(18, {2, 3}), build(21, {2, 2, 3, 3}));
}

TEST(Upgrade, OpsOfOnnxRuntime) {
  ModelMaker m(17);
  m.proto.add_opset_import()->set_domain("com.microsoft");
  m.proto.mutable_opset_import(1)->set_version(1);
  m.input("x", {"2", "3"}).output("y").weight("w", {2, 3}, {1, 0, 0, 0, 1, 0});
  m.node("QuickGelu", {"x"}, {"a"}).set_domain("com.microsoft");
  m.node("FastGelu", {"a"}, {"b"}).set_domain("com.microsoft");
  m.node("Gelu", {"b"}, {"c"}).set_domain("com.microsoft");
  auto& product = m.node("FusedMatMul", {"c", "w"}, {"y"});
  product.set_domain("com.microsoft");
  set(product, "transB", int64_t{1});
  set(product, "alpha", 0.5f);
  const ir::Graph g = m.import();
  EXPECT_THAT(ops_of(g), ElementsAre("Swish", "Gelu", "Gelu", "Transpose", "Mul", "MatMul"));
  EXPECT_EQ(to_string(g.value(g.outputs[0]).shape), "[2,2]");
}

TEST(Upgrade, WarnsOfOpsNewerThanTheOpset) {
  ModelMaker m(17);
  m.input("x", {"2"}).output("y").node("Gelu", {"x"}, {"y"}, "gelu");
  EXPECT_THAT(m.import().warnings,
              ElementsAre(testing::HasSubstr("'gelu' (Gelu): the op exists since opset 20")));
}

}  // namespace
}  // namespace vitrail
