// SPDX-License-Identifier: Apache-2.0
#include "import/onnx_export.h"

#include <cmath>

#include "import/onnx_testing.h"
#include "ops/sample.h"

namespace vitrail {
namespace {
using namespace onnx_testing;

ir::Graph again(const ir::Graph& graph, const ExportOptions& options = {}) {
  return import_onnx_bytes(as_bytes(export_onnx_bytes(graph, options)));
}

TEST(Export, ImportedModelsComeBackEqual) {
  ModelMaker m;
  m.input("x", {"n", "3"})
      .input("c", {}, 9)
      .output("y")
      .output("z")
      .weight("w", {3}, {0.5f, -1, 2});
  auto& entry = *m.proto.add_metadata_props();
  entry.set_key("vitrail.task");
  entry.set_value("classify");
  m.node("Add", {"x", "w"}, {"s"}, "layers/0/add");
  set(m.node("LeakyRelu", {"s"}, {"y"}, "act"), "alpha", 0.1f);
  auto& choice = m.node("If", {"c"}, {"z"}, "choice");
  auto& yes = set_graph(choice, "then_branch");
  ModelMaker::add(yes, "Relu", {"s"}, {"r"}, "inner");
  yes.add_output()->set_name("r");
  auto& no = set_graph(choice, "else_branch");
  ModelMaker::add(no, "Neg", {"x"}, {"r"}, "inner");
  no.add_output()->set_name("r");
  const ir::Graph once = m.import();
  const ir::Graph twice = again(once);
  const ir::Graph thrice = again(twice);
  EXPECT_EQ(text_of(twice.clone()), text_of(thrice.clone()));
  EXPECT_EQ(twice.metadata.at("vitrail.task"), "classify");
  EXPECT_EQ(twice.metadata.at("onnx.producer"), "vitrail");
  ModelMaker plain;  // without bodies, whose values may need new names, the first trip is exact too
  plain.input("x", {"n", "3"}).output("y").weight("w", {3}, {0.5f, -1, 2});
  plain.node("Add", {"x", "w"}, {"s"}, "layers/0/add");
  set(plain.node("LeakyRelu", {"s"}, {"y"}, "act"), "alpha", 0.1f);
  EXPECT_EQ(text_of(plain.import()), text_of(again(plain.import())));
}

TEST(Export, LoopsComeBackEqual) {
  ModelMaker m;
  m.input("x", {"n"}).input("step", {"n"}).output("last").output("all");
  m.ints("trips", {3});
  m.graph.mutable_initializer(0)->clear_dims();
  auto& body = set_graph(m.node("Loop", {"trips", "", "x"}, {"last", "all"}, "loop"), "body");
  ModelMaker::set_type(*body.add_input(), "i", {}, 7);
  ModelMaker::set_type(*body.add_input(), "go", {}, 9);
  ModelMaker::set_type(*body.add_input(), "state", {"n"});
  ModelMaker::add(body, "Add", {"state", "step"}, {"next"});
  ModelMaker::add(body, "Relu", {"next"}, {"shown"});
  for (const char* name : {"go", "next", "shown"}) body.add_output()->set_name(name);
  const ir::Graph once = m.import();
  const ir::Graph twice = again(once);
  EXPECT_EQ(text_of(twice.clone()), text_of(again(twice)));
  EXPECT_EQ(to_string(twice.value(twice.outputs[1]).shape), "[3,n]");
}

TEST(Export, UnfoldsFusionsOrKeepsThem) {
  ir::Graph g;
  const auto x = g.add_input("x", DType::f32, {Expr::symbol("n"), 3});
  const auto a = g.op("Relu", {x}, {}, "first");
  const auto b = g.op("Neg", {a}, {}, "second");
  const auto y = g.op("Relu", {b}, {}, "third");
  g.outputs = {y};
  const std::string before = text_of(g.clone());
  const ir::NodeId inner = ir::outline(g, {g.value(a).producer, g.value(b).producer}, "pair");
  ir::outline(g, {inner, g.value(y).producer}, "triple");
  const ir::Graph plain = again(g);
  EXPECT_EQ(plain.node_count(), 3u);
  EXPECT_EQ(to_string(plain.value(plain.outputs[0]).shape), "[n,3]");

  onnx::ModelProto proto;
  ASSERT_TRUE(proto.ParseFromString(export_onnx_bytes(g, {.keep_fusions = true})));
  ASSERT_EQ(proto.graph().node_size(), 1);
  EXPECT_EQ(proto.graph().node(0).domain(), "ai.vitrail");
  EXPECT_EQ(proto.graph().node(0).op_type(), "triple");
}

TEST(Export, WritesExternalData) {
  const TemporaryFolder folder;
  ModelMaker m;
  m.input("x", {"512"})
      .output("y")
      .weight("w", {512}, std::vector<float>(512, 1.5f))
      .weight("b", {1}, {2});
  m.node("Add", {"x", "w"}, {"s"});
  m.node("Add", {"s", "b"}, {"y"});
  const ir::Graph g = m.import();
  export_onnx(g, folder / "m.onnx", {.external_data = true});
  EXPECT_EQ(std::filesystem::file_size(folder / "m.onnx.data"), 2048u);
  EXPECT_EQ(text_of(import_onnx(folder / "m.onnx")), text_of(g.clone()));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder / ""), {}), 2)
      << "no temporaries";
  expect_error(Code::usage, {"m.onnx"},
               [&] { export_onnx(g, folder / "m.onnx", {.source = folder / "m.onnx"}); });
  expect_error(Code::usage, {"opset 6"}, [&] { export_onnx(g, folder / "n.onnx", {.opset = 6}); });
  EXPECT_FALSE(std::filesystem::exists(folder / "n.onnx"));
}

TEST(Export, NamesTheNodeAnOpsetCannotExpress) {
  ir::Graph g;
  const auto x = g.add_input("x", DType::f32, {2, 3});
  g.outputs = {g.op("Where", {g.op("Greater", {x, x}), x, x}, {}, "pick")};
  expect_error(Code::unsupported, {"'pick' (Where)", "opset 8", "since opset 9"},
               [&] { export_onnx_bytes(g, {.opset = 8}); });
}

// ---- every op's samples, written for old and new opsets and read again, compute the same

class ExportOps : public testing::TestWithParam<const OpDef*> {};

// The graph by its ops' references, in float32.
std::vector<Tensor> run(const ir::Graph& graph, const std::vector<Tensor>& inputs) {
  std::vector<Tensor> values(graph.value_count());
  for (uint32_t i = 0; i < graph.value_count(); ++i) values[i] = graph.value({i}).constant;
  for (size_t i = 0; i < inputs.size(); ++i) values[graph.inputs[i].index] = inputs[i];
  for (ir::NodeId id : graph.topological_order()) {
    const ir::Node& node = graph.node(id);
    std::vector<Tensor> ins;
    for (ir::ValueId in : node.inputs) ins.push_back(in.valid() ? values[in.index] : Tensor());
    const auto outs =
        run_reference(*node.op, node.attrs, ins, static_cast<int>(node.outputs.size()));
    for (size_t i = 0; i < outs.size(); ++i)
      if (node.outputs[i].valid()) values[node.outputs[i].index] = outs[i];
  }
  std::vector<Tensor> out;
  for (ir::ValueId id : graph.outputs) out.push_back(values[id.index]);
  return out;
}

// The sample as a model: fixed inputs (axes, sizes) are constants, drawn ones are inputs.
struct SampleModel {
  ir::Graph graph;
  std::vector<Tensor> inputs;
};
SampleModel model_of(const OpDef& op, const Sample& sample) {
  SampleModel out;
  const auto drawn = draw_inputs(sample);
  std::vector<ir::ValueId> ins;
  for (size_t i = 0; i < drawn.size(); ++i) {
    const std::string name = "in" + std::to_string(i);
    if (!drawn[i].defined()) {
      ins.push_back(ir::kNoValue);
    } else if (sample.inputs[i].fixed.defined()) {
      ins.push_back(out.graph.add_constant(name, drawn[i]));
    } else {
      ins.push_back(out.graph.add_input(name, drawn[i].dtype(), to_shape(drawn[i].dims())));
      out.inputs.push_back(drawn[i]);
    }
  }
  const ir::NodeId id = out.graph.add_node(op, ins, sample.attrs, "node", sample.outputs);
  out.graph.outputs = out.graph.node(id).outputs;
  return out;
}

TEST_P(ExportOps, SamplesSurviveEveryOpset) {
  const OpDef& op = *GetParam();
  for (const Sample& sample : op.samples()) {
    const SampleModel model = model_of(op, sample);
    const auto expected = run(model.graph, model.inputs);
    bool written = false;
    for (int opset : {7, 8, 9, 10, 11, 12, 13, 16, 17, 18, 20, 22, 24, kNewestOpset}) {
      SCOPED_TRACE(opset);
      std::string bytes;
      try {
        bytes = export_onnx_bytes(model.graph, {.opset = opset});
        written = true;
      } catch (const Error& error) {
        EXPECT_EQ(error.code, Code::unsupported) << error.what();
        EXPECT_FALSE(written) << "opset " << opset
                              << " cannot, an older one could: " << error.what();
        EXPECT_LT(opset, kNewestOpset) << error.what();
        continue;
      }
      const ir::Graph back = import_onnx_bytes(as_bytes(bytes));
      ir::verify(back, "import");
      const auto found = run(back, model.inputs);
      ASSERT_EQ(found.size(), expected.size());
      for (size_t i = 0; i < found.size(); ++i) {
        ASSERT_EQ(found[i].dtype(), expected[i].dtype());
        ASSERT_EQ(found[i].dims(), expected[i].dims());
        for (int64_t e = 0; e < found[i].size(); ++e) {
          const double want = expected[i].number_at(e), got = found[i].number_at(e);
          if (std::isnan(want) || std::isinf(want)) {
            EXPECT_EQ(std::isnan(got), std::isnan(want));
            if (std::isinf(want)) {
              EXPECT_EQ(got, want);
            }
            continue;
          }
          // A decomposition rounds to float32 (6e-8) some ten times, and the difference from a mean
          // can make that ten times larger beside the result.
          ASSERT_NEAR(got, want, 100 * 6e-8 * std::max(1.0, std::abs(want)))
              << op.name << " element " << e;
        }
      }
    }
  }
}
std::vector<const OpDef*> ops_with_samples() {
  std::vector<const OpDef*> out;
  for (const OpDef* op : all_ops())
    if (!op->traits.control) out.push_back(op);
  return out;
}
INSTANTIATE_TEST_SUITE_P(All, ExportOps, testing::ValuesIn(ops_with_samples()),
                         [](const auto& op) { return std::string(op.param->name); });

}  // namespace
}  // namespace vitrail
